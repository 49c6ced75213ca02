"""Rotation: one refresh token for the next, in one transaction whose first statement decides (security §3).

The successor is derived from the token itself, so a replay is answered with the very same one although only digests
are stored, and however many ask at once, the chain of a session never forks.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keystead.crypto.secrets import Secret, SecretKind, generate, successor
from keystead.db.interface import Tx
from keystead.policy import BrandPolicy, SessionKind
from keystead.sessions.model import (
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
from keystead.sessions.refresh_tokens import store
from keystead.sessions.refresh_tokens.judgement import Judgement, judge
from keystead.sessions.refresh_tokens.rotation_keys import RotationKeys
from keystead.sessions.store import end_session


async def issue_first(
    tx: Tx, brand_id: str, session_id: str, expires_at: datetime | None, keys: RotationKeys, now: datetime
) -> Secret:
    """The first refresh token of a session."""
    secret = generate(SecretKind.refresh)
    link = Link(0, keys.current, secret.digest(), expires_at)
    await store.insert_token(tx, brand_id, session_id, link, now)
    return secret


async def rotate(tx: Tx, expected_brand_id: str | None, secret: Secret, keys: RotationKeys, now: datetime) -> Verdict:
    """Rotates ``secret``, or says what became of it. Only reuse changes anything else: it ends the session.

    ``expected_brand_id`` is the brand that the rest of the request speaks for; a token of another one is unknown.
    """
    row = await store.rotate_token(tx, secret.digest(), expected_brand_id, now)
    if row is not None:
        return await _succeed(tx, row, secret, keys, now)
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
    """When a refresh token issued now is over; None: it stands until it is invalidated.

    A pair is renewed with every use, so being idle and being past its life are the same there.
    """
    if kind is SessionKind.standing:
        seconds = policy.standing_refresh_ttl
    else:
        seconds = min(policy.refresh_ttl, policy.idle_ttl or policy.refresh_ttl)
    return None if seconds is None else now + timedelta(seconds=seconds)


async def _succeed(tx: Tx, row: RotatedRow, secret: Secret, keys: RotationKeys, now: datetime) -> Rotated:
    generation = row.generation + 1
    following = successor(keys.key(row.rotation_key_id), secret, row.session_id, generation)
    expires_at = lifetime_end(SessionKind.pair, row.policy, now)
    link = Link(generation, keys.current, following.digest(), expires_at)
    await store.insert_token(tx, row.brand_id, row.session_id, link, now)
    return Rotated(row.brand_id, row.user_id, row.session_id, row.policy, following, expires_at, row.keyring_version)


async def _replay(
    tx: Tx, token: PresentedToken, secret: Secret, keys: RotationKeys, now: datetime
) -> Replayed | Expired | Unknown:
    """Walks the derivation from ``secret`` to the token that was current when it was judged."""
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
