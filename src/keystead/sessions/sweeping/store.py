"""SQL of the sweep: few rows at a time, each found by an index. Every brand's rows alike."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, func, select

from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement, any_of
from keystead.db.types import Integer, UtcTime
from keystead.sessions.store import refresh_tokens, s, sessions, t

_SWEEP = "the sweep removes what is over in every brand"
_before = bindparam("before", type_=UtcTime())
_limit = bindparam("limit", type_=Integer())
_THEIRS = refresh_tokens.alias("theirs").c

# By the unique index on both: from the oldest token of a session to its head.
_GENERATIONS = [
    select(end(_THEIRS.generation)).where(_THEIRS.session_id == s.id).correlate(sessions).scalar_subquery()
    for end in (func.min, func.max)
]
# Ordered by what they are found by: otherwise PostgreSQL, which knows nothing of the values, reads the whole table.
_FIND_ENDED = Statement(
    select(s.id, *_GENERATIONS).where(s.ended_at < _before).order_by(s.ended_at).limit(_limit), unbranded=_SWEEP
)
_EXPIRED = select(t.digest, t.session_id, t.rotated_at).where(t.expires_at < _before).order_by(t.expires_at)
_OLDEST = _EXPIRED.limit(_limit).subquery("oldest").c
# Only the head of a chain was not rotated. Once that has expired, there is no way back into the session.
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


async def sweep(tx: Tx, before: datetime, limit: int) -> int:
    """Removes, of every brand, about ``limit`` sessions and rotated refresh tokens that were over ``before``.

    Returns how many it removed: 0 means that nothing is left.
    """
    swept = await tx.execute(_DELETE_ROTATED, before=before, limit=limit)
    for find in (_FIND_ENDED, _FIND_LAPSED):
        if swept < limit:
            over = await tx.list(find, before=before, limit=limit - swept)
            swept += await _sweep_sessions(tx, over, limit - swept) if over else 0
    return swept


async def _sweep_sessions(tx: Tx, over: list[Row], limit: int) -> int:
    """Removes as many sessions of every brand as have ``limit`` tokens together, which go with them.

    One that was refreshed often has thousands, too many for one slice: it is shortened first.
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
