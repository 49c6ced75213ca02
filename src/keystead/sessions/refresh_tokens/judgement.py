"""What a refresh token deserves that could not simply be rotated. Pure: facts and time in, a word out (security §3)."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from keystead.policy import BrandPolicy, SessionKind, allows
from keystead.sessions.model import LAST_USE_PRECISION, PresentedToken

LONGEST_WALK = 64
"""How many rotations a replayed token may lie behind the current one."""


class Judgement(StrEnum):
    """The possible words."""

    replay = "replay"
    reuse = "reuse"
    expired = "expired"
    unknown = "unknown"
    kind_off = "kind_off"
    usable = "usable"


def judge(token: PresentedToken | None, now: datetime, policy: BrandPolicy) -> Judgement:
    """What to do about a token of the pair contract that the conditional UPDATE did not rotate.

    A rotated token is forgiven within the grace (several tabs, one token), and within the longer lost-response window
    when it is the direct parent of the current token, which then was never presented: its owner never got it. After
    the database's clock went back, a rotation in the future is judged like one equally far in the past.
    """
    if token is None or token.kind is not SessionKind.pair or not token.is_alive:
        return Judgement.unknown
    if not allows(token.preset, token.kind):
        return Judgement.kind_off
    if token.expires_at is None or token.expires_at <= now:
        return Judgement.expired
    if token.rotated_at is None:
        # It was not to be rotated a statement ago and is whole now: its user or brand was let in again meanwhile.
        return Judgement.unknown
    age = abs(now - token.rotated_at)
    steps = token.head_generation - token.generation
    is_in_grace = age <= timedelta(seconds=policy.grace) and steps <= LONGEST_WALK
    is_lost_response = age <= timedelta(seconds=policy.lost_window) and steps == 1
    return Judgement.replay if is_in_grace or is_lost_response else Judgement.reuse


def judge_standing(token: PresentedToken | None, now: datetime, policy: BrandPolicy) -> Judgement:
    """Whether a token of the standing contract gives an access token: ``usable``, or why not.

    It lives until it is invalidated, unless the brand sets a limit. The idle limit has a minute of slack, since
    the last use on record may be a minute old. A last use in the future counts like one equally far in the past.
    """
    if token is None or token.kind is not SessionKind.standing or not token.is_alive or token.rotated_at:
        return Judgement.unknown
    if not allows(token.preset, token.kind):
        return Judgement.kind_off
    end = token.standing_end(policy)
    if end is not None and end <= now:
        return Judgement.expired
    if policy.idle_ttl is not None:
        idle = timedelta(seconds=policy.idle_ttl + LAST_USE_PRECISION)
        if abs(now - token.used_at) >= idle:
            return Judgement.expired
    return Judgement.usable
