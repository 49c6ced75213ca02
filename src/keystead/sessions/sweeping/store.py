"""SQL of the sweep: few rows at a time, each found by an index. Every brand's rows alike."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, select

from keystead.db.engine import Tx
from keystead.db.statements import Statement, any_of
from keystead.db.types import Integer, UtcTime
from keystead.sessions.store import refresh_tokens, s, sessions, t

_SWEEP = "the sweep removes what is over in every brand"
_before = bindparam("before", type_=UtcTime())
_limit = bindparam("limit", type_=Integer())

# Ordered by what they are found by: otherwise PostgreSQL, which knows nothing of the values, reads the whole table.
_FIND_ENDED = Statement(select(s.id).where(s.ended_at < _before).order_by(s.ended_at).limit(_limit), unbranded=_SWEEP)
_EXPIRED = select(t.digest, t.session_id, t.rotated_at).where(t.expires_at < _before).order_by(t.expires_at)
_OLDEST = _EXPIRED.limit(_limit).subquery("oldest").c
# Only the head of a chain was not rotated. Once that has expired, there is no way back into the session.
_FIND_LAPSED = Statement(select(_OLDEST.session_id).where(_OLDEST.rotated_at.is_(None)), unbranded=_SWEEP)
_DELETE_ROTATED = Statement(
    delete(refresh_tokens).where(t.digest.in_(select(_OLDEST.digest).where(_OLDEST.rotated_at.is_not(None)))),
    unbranded=_SWEEP,
)
_ROTATED_OF = select(t.digest).where(any_of(t.session_id, "session_ids"), t.rotated_at.is_not(None)).limit(_limit)
_DELETE_ROTATED_OF = Statement(delete(refresh_tokens).where(t.digest.in_(_ROTATED_OF)), unbranded=_SWEEP)
_DELETE_SESSIONS = Statement(delete(sessions).where(any_of(s.id, "session_ids")), unbranded=_SWEEP)


async def sweep(tx: Tx, before: datetime, limit: int) -> int:
    """Removes, of every brand, about ``limit`` sessions and rotated refresh tokens that were over ``before``.

    Returns how many it removed: 0 means that nothing is left.
    """
    swept = await tx.execute(_DELETE_ROTATED, before=before, limit=limit)
    for find in (_FIND_ENDED, _FIND_LAPSED):
        if swept < limit:
            over = [row[0] for row in await tx.list(find, before=before, limit=limit - swept)]
            swept += await _sweep_sessions(tx, over, limit - swept) if over else 0
    return swept


async def _sweep_sessions(tx: Tx, session_ids: list[str], limit: int) -> int:
    """Removes sessions of every brand. One that was refreshed often has thousands of tokens, too many for one slice:
    as long as they have ``limit`` rotated ones or more, only tokens are removed."""
    swept = await tx.execute(_DELETE_ROTATED_OF, session_ids=session_ids, limit=limit)
    if swept < limit:
        swept += await tx.execute(_DELETE_SESSIONS, session_ids=session_ids)
    return swept
