"""What the database holds of a session: the attacks on refresh tokens look at it."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from keystead.audit.store import audit_events
from keystead.context import Server
from keystead.db.statements import Statement
from keystead.sessions.store import refresh_tokens, sessions

_COUNT_HEADS = Statement(
    select(func.count())
    .select_from(refresh_tokens.join(sessions, refresh_tokens.c.session_id == sessions.c.id))
    .where(
        refresh_tokens.c.session_id == bindparam("session_id"),
        refresh_tokens.c.rotated_at.is_(None),
        sessions.c.ended_at.is_(None),
    ),
    unbranded="a test counts the tokens of one session",
)
_EVENTS = Statement(
    select(audit_events.c.event, audit_events.c.outcome)
    .where(audit_events.c.session_id == bindparam("session_id"))
    .order_by(audit_events.c.id),
    unbranded="a test reads what was recorded of one session",
)


async def count_heads(server: Server, session_id: str) -> int:
    """How many refresh tokens of the session could be rotated."""
    row = await server.db.reads.find(_COUNT_HEADS, session_id=session_id)
    return int(row[0]) if row else 0


async def events_of(server: Server, session_id: str) -> list[tuple[str, str]]:
    """What the audit log holds about the session."""
    return [(event, outcome) for event, outcome in await server.db.reads.list(_EVENTS, session_id=session_id)]
