"""Rotate refresh tokens and detect reuse (RFC 9700 §4.14): the first statement of the transaction decides.

The successor is derived from the token itself, so a replay gets the same successor although only digests are stored,
and concurrent refreshes cannot fork the chain of a session's tokens.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from keystead.context import Server
from keystead.crypto.master_key import MasterKey
from keystead.crypto.secrets import Secret, SecretKind, generate, successor
from keystead.db.interface import Tx
from keystead.installation.service import CURRENT_ROTATION_KEY, rotation_key
from keystead.policy import BrandPolicy, SessionKind, allows
from keystead.sessions import refresh_token_store as store
from keystead.sessions.model import (
    LAST_USE_PRECISION,
    EndReason,
    Expired,
    KindOff,
    Link,
    PresentedToken,
    Replayed,
    Reused,
    Rotated,
    RotatedRow,
    Unknown,
    Verdict,
)
from keystead.sessions.store import end_session

LONGEST_WALK = 64
"""How many rotations a replayed token may be behind the current one."""


class RotationKeys:
    """The keys that derive successors of refresh tokens: HKDF(master key, "refresh", id), cached per process.

    The id is stored with each token, so that a new key can be introduced while chains made with the old one live on.
    ``repr`` hides the keys.
    """

    __slots__ = ("_derived", "_master_key", "current")

    def __init__(self, master_key: MasterKey, derived: dict[str, bytes], current: str = CURRENT_ROTATION_KEY) -> None:
        self._master_key = master_key
        self._derived = derived
        self.current = current
        """The id of the key that new tokens are stored with."""

    @classmethod
    def of(cls, server: Server) -> RotationKeys:
        """The keys of this process."""
        return cls(server.master_key, server.rotation_keys)

    def key(self, key_id: str) -> bytes:
        """The key of that id."""
        known = self._derived.get(key_id)
        if known is None:
            known = self._derived[key_id] = rotation_key(self._master_key, key_id)
        return known

    def __repr__(self) -> str:
        return f"RotationKeys(current={self.current!r})"


class Judgement(StrEnum):
    """How a presented refresh token is classified."""

    replay = "replay"
    reuse = "reuse"
    expired = "expired"
    unknown = "unknown"
    kind_off = "kind_off"
    usable = "usable"


def judge(token: PresentedToken | None, now: datetime, policy: BrandPolicy) -> Judgement:
    """Classify a pair session's refresh token that could not be rotated. Pure function of row, policy and time.

    A rotated token is a replay within the grace period (several tabs share one token), and within the longer
    lost-response window when it is the direct parent of the current token: the client never got that one. After the
    database's clock went back, a rotation in the future is judged like one equally far in the past.
    """
    if token is None or token.kind is not SessionKind.pair or not token.is_alive:
        return Judgement.unknown
    if not allows(token.preset, token.kind):
        return Judgement.kind_off
    if token.expires_at is None or token.expires_at <= now:
        return Judgement.expired
    if token.rotated_at is None:
        # Not rotatable a statement ago, and valid now: its user or brand was enabled in between.
        return Judgement.unknown
    age = abs(now - token.rotated_at)
    steps = token.head_generation - token.generation
    is_in_grace = age <= timedelta(seconds=policy.grace) and steps <= LONGEST_WALK
    is_lost_response = age <= timedelta(seconds=policy.lost_window) and steps == 1
    return Judgement.replay if is_in_grace or is_lost_response else Judgement.reuse


def judge_standing(token: PresentedToken | None, now: datetime, policy: BrandPolicy) -> Judgement:
    """Classify a standing session's refresh token: ``usable`` for an access token, or why not.

    It is valid until it is invalidated, unless the brand sets a limit. The idle limit has a minute of slack, since the
    last recorded use may be a minute old. A last use in the future counts like one equally far in the past.
    """
    if token is None or token.kind is not SessionKind.standing or not token.is_alive or token.rotated_at:
        return Judgement.unknown
    if not allows(token.preset, token.kind):
        return Judgement.kind_off
    end = token.standing_expiry(policy)
    if end is not None and end <= now:
        return Judgement.expired
    if policy.idle_ttl is not None:
        idle = timedelta(seconds=policy.idle_ttl + LAST_USE_PRECISION)
        if abs(now - token.used_at) >= idle:
            return Judgement.expired
    return Judgement.usable


async def issue_first(
    tx: Tx, brand_id: str, session_id: str, expires_at: datetime | None, keys: RotationKeys, now: datetime
) -> Secret:
    """Issue the first refresh token of a session."""
    secret = generate(SecretKind.refresh)
    link = Link(0, keys.current, secret.digest(), expires_at)
    await store.insert_token(tx, brand_id, session_id, link, now)
    return secret


async def rotate(tx: Tx, expected_brand_id: str | None, secret: Secret, keys: RotationKeys, now: datetime) -> Verdict:
    """Rotate ``secret``, or return why not. Of the failures only reuse has an effect: it ends the session.

    ``expected_brand_id`` is the brand of the request's credentials; a token of another brand is unknown.
    """
    row = await store.rotate_token(tx, secret.digest(), expected_brand_id, now)
    if row is not None:
        return await _issue_successor(tx, row, secret, keys, now)
    token = await store.find_presented(tx, secret.digest(), expected_brand_id)
    if token is None:
        return Unknown()
    match judge(token, now, token.policy):
        case Judgement.replay:
            return await _replay(tx, token, secret, keys, now)
        case Judgement.reuse:
            is_first = await end_session(tx, token.brand_id, token.session_id, EndReason.reuse, now)
            return Reused(token.brand_id, token.user_id, token.session_id, is_first)
        case Judgement.expired:
            return Expired()
        case Judgement.kind_off:
            return KindOff()
        case _:
            return Unknown()


def lifetime_end(kind: SessionKind, policy: BrandPolicy, now: datetime) -> datetime | None:
    """When a refresh token issued now expires; None: never, it is valid until it is invalidated.

    A pair session's token is renewed with every use, so its idle limit and its lifetime are the same.
    """
    if kind is SessionKind.standing:
        seconds = policy.standing_refresh_ttl
    else:
        seconds = min(policy.refresh_ttl, policy.idle_ttl or policy.refresh_ttl)
    return None if seconds is None else now + timedelta(seconds=seconds)


async def _issue_successor(tx: Tx, row: RotatedRow, secret: Secret, keys: RotationKeys, now: datetime) -> Rotated:
    generation = row.generation + 1
    following = successor(keys.key(row.rotation_key_id), secret, row.session_id, generation)
    expires_at = lifetime_end(SessionKind.pair, row.policy, now)
    link = Link(generation, keys.current, following.digest(), expires_at)
    await store.insert_token(tx, row.brand_id, row.session_id, link, now)
    return Rotated(row.brand_id, row.user_id, row.session_id, row.policy, following, expires_at, row.keyring_version)


async def _replay(
    tx: Tx, token: PresentedToken, secret: Secret, keys: RotationKeys, now: datetime
) -> Replayed | Expired | Unknown:
    """Walk the derivation from ``secret`` to the token that was current when it was judged."""
    first, last = token.generation, token.head_generation
    chain = await store.list_chain(tx, token.brand_id, token.session_id, first, last)
    if [link.generation for link in chain] != list(range(first, last + 1)):
        return Unknown()
    for link in chain[:-1]:
        secret = successor(keys.key(link.rotation_key_id), secret, token.session_id, link.generation + 1)
    head = chain[-1]
    if secret.digest() != head.digest:
        return Unknown()
    if head.expires_at is not None and head.expires_at <= now:
        return Expired()
    return Replayed(
        token.brand_id,
        token.user_id,
        token.session_id,
        token.policy,
        secret,
        head.expires_at,
        token.keyring_version,
    )
