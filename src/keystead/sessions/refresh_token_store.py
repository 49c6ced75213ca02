"""SQL of refresh tokens, and the sweep of expired tokens and sessions; their tables are in ``store``."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import and_, bindparam, delete, func, or_, select, update

from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement, any_of, insert
from keystead.db.types import Id, Integer, UtcTime
from keystead.installation.store import CURRENT_KEYRING_VERSION
from keystead.policy import Preset, SessionKind, parse_policy
from keystead.sessions.model import Link, PresentedToken, RotatedRow
from keystead.sessions.store import ALIVE, OF_ONE_PERSON_AND_BRAND, b, refresh_tokens, s, sessions, t

_BY_DIGEST = "the digest of 256 random bits names the row, and the row its brand"

_INSERT = Statement(
    insert(refresh_tokens).values(
        {column.name: bindparam(column.name) for column in refresh_tokens.c if column.name != "rotated_at"}
    )
)
_ALIVE_PAIR = (
    select(s.id)
    .select_from(OF_ONE_PERSON_AND_BRAND)
    .where(s.id == t.session_id, s.brand_id == t.brand_id, s.kind == SessionKind.pair.value, ALIVE)
    .where(b.preset != Preset.standing.value)
    .correlate(refresh_tokens)
    .exists()
)
_USER_ID = select(s.user_id).where(s.id == t.session_id, s.brand_id == t.brand_id).scalar_subquery()
_POLICY = select(b.policy).where(b.id == t.brand_id).scalar_subquery()
_expected = bindparam("expected_brand_id", type_=Id())
# Decides who rotates: on PostgreSQL, a concurrent caller waits for the row and then finds it rotated.
_ROTATE = Statement(
    update(refresh_tokens)
    .where(t.digest == bindparam("digest"), t.rotated_at.is_(None), t.expires_at > bindparam("at"))
    .where(or_(_expected.is_(None), t.brand_id == _expected), _ALIVE_PAIR)
    .values(rotated_at=bindparam("at"))
    .returning(t.brand_id, t.session_id, _USER_ID, t.generation, t.rotation_key_id, _POLICY, CURRENT_KEYRING_VERSION),
    unbranded=_BY_DIGEST,
)
_head = refresh_tokens.alias("head")
_HEAD_GENERATION = (
    select(func.max(_head.c.generation))
    .where(_head.c.session_id == t.session_id)
    .correlate(refresh_tokens)
    .scalar_subquery()
)
_FIND_PRESENTED = Statement(
    select(
        t.brand_id,
        t.session_id,
        s.user_id,
        s.kind,
        ALIVE.label("is_alive"),
        b.preset,
        b.policy,
        CURRENT_KEYRING_VERSION,
        t.generation,
        _HEAD_GENERATION,
        t.issued_at,
        t.expires_at,
        t.rotated_at,
        func.coalesce(s.last_used_at, s.created_at, type_=UtcTime()),
    )
    .select_from(refresh_tokens.join(OF_ONE_PERSON_AND_BRAND, and_(s.id == t.session_id, s.brand_id == t.brand_id)))
    .where(t.digest == bindparam("digest"))
    .where(or_(_expected.is_(None), t.brand_id == _expected)),
    unbranded=_BY_DIGEST,
)
_CHAIN = Statement(
    select(t.generation, t.rotation_key_id, t.digest, t.expires_at)
    .where(t.brand_id == bindparam("brand_id"), t.session_id == bindparam("session_id"))
    .where(t.generation.between(bindparam("first"), bindparam("last")))
    .order_by(t.generation)
)

# The sweep: few rows at a time, each found by an index, of all brands.
_SWEEP = "the sweep removes what has expired in every brand"
_before = bindparam("before", type_=UtcTime())
_limit = bindparam("limit", type_=Integer())
_OF_SESSION = refresh_tokens.alias("of_session").c

# By the unique index on both columns: the oldest token of a session, and its head.
_GENERATIONS = [
    select(end(_OF_SESSION.generation)).where(_OF_SESSION.session_id == s.id).correlate(sessions).scalar_subquery()
    for end in (func.min, func.max)
]
# Ordered by the indexed column: otherwise PostgreSQL, which does not know the values, reads the whole table.
_FIND_ENDED = Statement(
    select(s.id, *_GENERATIONS).where(s.ended_at < _before).order_by(s.ended_at).limit(_limit), unbranded=_SWEEP
)
_EXPIRED = select(t.digest, t.session_id, t.rotated_at).where(t.expires_at < _before).order_by(t.expires_at)
_OLDEST = _EXPIRED.limit(_limit).subquery("oldest").c
# Only the head of a chain is not rotated. Once it has expired, the session cannot be used again.
_FIND_LAPSED = Statement(
    select(s.id, *_GENERATIONS).where(s.id.in_(select(_OLDEST.session_id).where(_OLDEST.rotated_at.is_(None)))),
    unbranded=_SWEEP,
)
_DELETE_ROTATED = Statement(
    delete(refresh_tokens).where(t.digest.in_(select(_OLDEST.digest).where(_OLDEST.rotated_at.is_not(None)))),
    unbranded=_SWEEP,
)
_SHORTEN = Statement(
    delete(refresh_tokens).where(t.session_id == bindparam("session_id"), t.generation < bindparam("end")),
    unbranded=_SWEEP,
)
_DELETE_SESSIONS = Statement(delete(sessions).where(any_of(s.id, "session_ids")), unbranded=_SWEEP)


async def insert_token(tx: Tx, brand_id: str, session_id: str, link: Link, issued_at: datetime) -> None:
    """Add a refresh token to a session."""
    await tx.execute(
        _INSERT,
        brand_id=brand_id,
        session_id=session_id,
        digest=link.digest,
        generation=link.generation,
        rotation_key_id=link.rotation_key_id,
        issued_at=issued_at,
        expires_at=link.expires_at,
    )


async def rotate_token(tx: Tx, digest: bytes, expected_brand_id: str | None, at: datetime) -> RotatedRow | None:
    """Mark the token as rotated if it is current, not expired, and of a pair session that is alive.

    ``expected_brand_id`` is the brand of the request's credentials; None: a token of any brand.
    """
    row = await tx.find(_ROTATE, digest=digest, expected_brand_id=expected_brand_id, at=at)
    if row is None:
        return None
    brand_id, session_id, user_id, generation, rotation_key_id, policy, keyring_version = row
    return RotatedRow(
        brand_id, session_id, user_id, generation, rotation_key_id, parse_policy(policy), int(keyring_version)
    )


async def find_presented(tx: Tx, digest: bytes, expected_brand_id: str | None) -> PresentedToken | None:
    """The token, its session and brand; None when the expected brand has no token of that digest."""
    row = await tx.find(_FIND_PRESENTED, digest=digest, expected_brand_id=expected_brand_id)
    if row is None:
        return None
    brand_id, session_id, user_id, kind, is_alive, preset, policy, keyring_version, *rest = row
    return PresentedToken(
        brand_id,
        session_id,
        user_id,
        SessionKind(kind),
        is_alive,
        Preset(preset),
        parse_policy(policy),
        int(keyring_version),
        *rest,
    )


async def list_chain(tx: Tx, brand_id: str, session_id: str, first: int, last: int) -> list[Link]:
    """The tokens of a session between two generations, both included, in order."""
    rows = await tx.list(_CHAIN, brand_id=brand_id, session_id=session_id, first=first, last=last)
    return [Link(*row) for row in rows]


async def sweep(tx: Tx, before: datetime, limit: int) -> int:
    """Delete, in every brand, about ``limit`` sessions and rotated refresh tokens that ended before ``before``.

    Return how many; 0 means that none is left.
    """
    swept = await tx.execute(_DELETE_ROTATED, before=before, limit=limit)
    for find in (_FIND_ENDED, _FIND_LAPSED):
        if swept < limit:
            over = await tx.list(find, before=before, limit=limit - swept)
            swept += await _sweep_sessions(tx, over, limit - swept) if over else 0
    return swept


async def _sweep_sessions(tx: Tx, over: list[Row], limit: int) -> int:
    """Delete as many sessions of every brand as have ``limit`` tokens together, with their tokens.

    A session that was refreshed often has thousands, too many for one slice: its oldest ones are deleted first.
    """
    fitting, tokens = [], 0
    for session_id, first, last in over:
        tokens += 1 if first is None else last - first + 1
        if tokens > limit:
            break
        fitting.append(session_id)
    if fitting:
        return await tx.execute(_DELETE_SESSIONS, session_ids=fitting)
    session_id, first, _ = over[0]
    return await tx.execute(_SHORTEN, session_id=session_id, end=first + limit)
