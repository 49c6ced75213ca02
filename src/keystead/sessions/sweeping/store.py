"""SQL of the sweep: small batches, found by an index. Every brand's rows alike."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import and_, bindparam, delete, or_, select

from keystead.db.engine import Tx
from keystead.db.statements import Statement
from keystead.db.types import Integer, UtcTime
from keystead.policy import SessionKind
from keystead.sessions.store import refresh_tokens, s, sessions, t

_SWEEP = "the sweep removes what is over in every brand"
_before = bindparam("before", type_=UtcTime())
_limit = bindparam("limit", type_=Integer())

_STILL_GOOD = (
    select(t.digest)
    .where(t.session_id == s.id, or_(t.expires_at.is_(None), t.expires_at >= _before))
    .correlate(sessions)
    .exists()
)
# A pair session whose last token has expired can never be refreshed; a standing one waits for its owner for ever.
_LAPSED = and_(s.kind == SessionKind.pair.value, s.last_used_at < _before, ~_STILL_GOOD)

_DELETE_ENDED = Statement(
    delete(sessions).where(s.id.in_(select(s.id).where(s.ended_at < _before).limit(_limit))), unbranded=_SWEEP
)
_DELETE_LAPSED = Statement(
    delete(sessions).where(s.id.in_(select(s.id).where(_LAPSED).limit(_limit))), unbranded=_SWEEP
)
_DELETE_ROTATED = Statement(
    delete(refresh_tokens).where(
        t.digest.in_(select(t.digest).where(t.rotated_at < _before, t.expires_at < _before).limit(_limit))
    ),
    unbranded=_SWEEP,
)


async def sweep(tx: Tx, before: datetime, limit: int) -> int:
    """Removes, of every brand, up to ``limit`` rows of each kind that were over ``before``.

    Returns how many it removed of the kind that had most: fewer than ``limit`` means that nothing is left.
    """
    statements = (_DELETE_ENDED, _DELETE_LAPSED, _DELETE_ROTATED)
    return max([await tx.execute(statement, before=before, limit=limit) for statement in statements])
