"""SQL of sessions, and the tables of sessions and refresh tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    Table,
    and_,
    bindparam,
    func,
    or_,
    select,
    true,
    update,
)

from keystead.brands.store import brands
from keystead.db.interface import Tx
from keystead.db.statements import Statement, insert
from keystead.db.types import Digest, Id, Text, UtcTime, filled_index, metadata
from keystead.policy import SessionKind
from keystead.sessions.model import REVOKING_REASONS, Device, EndReason, SessionRow
from keystead.users.store import users

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_used_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("end_reason", Text),
    Column("ip_prefix", Text),
    Column("user_agent", Text),
    Index("ix_sessions_user_id", "user_id", "ended_at"),
    filled_index("ix_sessions_ended", "ended_at"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", Digest, primary_key=True),
    Column("brand_id", Id, nullable=False),
    Column("session_id", Id, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    # The key that derives the token's successor.
    Column("rotation_key_id", Text, nullable=False),
    Column("issued_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("rotated_at", UtcTime),
    Index("uq_refresh_tokens_session_id_generation", "session_id", "generation", unique=True),
    filled_index("ix_refresh_tokens_expiring", "expires_at"),
)

s, t, u, b = sessions.c, refresh_tokens.c, users.c, brands.c
"""Columns of sessions, refresh tokens, users and brands."""
_brand_id: BindParameter[str] = bindparam("brand_id")
_OF_ONE_PERSON = sessions.join(users, and_(u.id == s.user_id, u.brand_id == s.brand_id))
OF_ONE_PERSON_AND_BRAND = _OF_ONE_PERSON.join(brands, b.id == s.brand_id)

ALIVE: ColumnElement[bool] = and_(
    s.ended_at.is_(None), s.epoch == u.session_epoch, u.is_disabled.is_(False), b.is_disabled.is_(False)
)
"""Security §3. Over ``OF_ONE_PERSON_AND_BRAND``."""

_OPEN = Statement(
    insert(sessions).values(
        id=bindparam("session_id"),
        brand_id=_brand_id,
        user_id=bindparam("user_id"),
        kind=bindparam("kind"),
        epoch=bindparam("epoch"),
        created_at=bindparam("at"),
        last_used_at=bindparam("at"),
        ip_prefix=bindparam("ip_prefix"),
        user_agent=bindparam("user_agent"),
    )
)
_SURPLUS = (
    select(s.id)
    .where(
        s.brand_id == _brand_id,
        s.user_id == bindparam("user_id"),
        s.kind == SessionKind.pair.value,
        s.ended_at.is_(None),
        s.epoch == bindparam("epoch"),
    )
    .order_by(s.created_at.desc(), s.id.desc())
    .offset(bindparam("keep"))
)
_END = update(sessions).where(s.brand_id == _brand_id, s.ended_at.is_(None))
_END = _END.values(ended_at=bindparam("at"), end_reason=bindparam("reason"))
_END_SURPLUS = Statement(_END.where(s.id.in_(_SURPLUS)).returning(s.id))
_END_ONE = Statement(_END.where(s.id == bindparam("session_id")))
_END_OTHERS = Statement(_END.where(s.user_id == bindparam("user_id"), s.id != bindparam("kept_id")))
_STILL_OF_USER = (
    select(u.id)
    .where(u.brand_id == s.brand_id, u.id == s.user_id, u.session_epoch == s.epoch)
    .correlate(sessions)
    .exists()
)
_END_OWN = Statement(_END.where(s.id == bindparam("session_id"), s.user_id == bindparam("user_id"), _STILL_OF_USER))
_IS_ALIVE = Statement(
    select(s.id)
    .select_from(OF_ONE_PERSON_AND_BRAND)
    .where(s.brand_id == _brand_id, s.user_id == bindparam("user_id"), s.id == bindparam("session_id"), ALIVE)
)
_FIND_END_REASON = Statement(select(s.end_reason).where(s.brand_id == _brand_id, s.id == bindparam("session_id")))
_TOUCH = Statement(
    update(sessions)
    .where(s.brand_id == _brand_id, s.id == bindparam("session_id"), s.ended_at.is_(None))
    .where(or_(s.last_used_at.is_(None), s.last_used_at < bindparam("at"), s.last_used_at > bindparam("latest")))
    .values(last_used_at=bindparam("at"))
)

_HAS_TOKEN = (
    select(t.digest)
    .where(t.session_id == s.id, t.brand_id == s.brand_id, t.rotated_at.is_(None))
    # Written so that no index applies: with one on this column, PostgreSQL would read the tokens of all sessions.
    .where((t.expires_at <= bindparam("at")).is_not(true()))
    .correlate(sessions)
    .exists()
)
_LAST_ISSUED = (
    select(func.max(t.issued_at))
    .where(t.session_id == s.id, t.brand_id == s.brand_id)
    .correlate(sessions)
    .scalar_subquery()
)
_OWN = and_(
    s.brand_id == _brand_id, s.user_id == bindparam("user_id"), s.ended_at.is_(None), s.epoch == u.session_epoch
)
_LIST_OWN = Statement(
    select(s.id, s.kind, s.created_at, s.last_used_at, s.ip_prefix, s.user_agent, _LAST_ISSUED)
    .select_from(_OF_ONE_PERSON)
    .where(_OWN, _HAS_TOKEN)
    .order_by(s.id.desc())
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_COUNT_OWN = Statement(select(func.count()).select_from(_OF_ONE_PERSON).where(_OWN, _HAS_TOKEN))


async def insert_session(
    tx: Tx, brand_id: str, user_id: str, session_id: str, kind: SessionKind, epoch: int, device: Device, at: datetime
) -> None:
    """Add a session of that epoch."""
    await tx.execute(
        _OPEN,
        brand_id=brand_id,
        user_id=user_id,
        session_id=session_id,
        kind=kind.value,
        epoch=epoch,
        at=at,
        ip_prefix=device.ip_prefix,
        user_agent=device.user_agent,
    )


async def end_surplus(tx: Tx, brand_id: str, user_id: str, epoch: int, keep: int, at: datetime) -> tuple[str, ...]:
    """End the user's oldest pair sessions, so that ``keep`` of them are left; return the ids of those that ended."""
    rows = await tx.list(
        _END_SURPLUS,
        brand_id=brand_id,
        user_id=user_id,
        epoch=epoch,
        keep=keep,
        at=at,
        reason=EndReason.limit.value,
    )
    return tuple(row[0] for row in rows)


async def end_session(tx: Tx, brand_id: str, session_id: str, reason: EndReason, at: datetime) -> bool:
    """End a session; False when it had ended before."""
    changed = await tx.execute(_END_ONE, brand_id=brand_id, session_id=session_id, reason=reason.value, at=at)
    return changed > 0


async def end_own_session(
    tx: Tx, brand_id: str, user_id: str, session_id: str, reason: EndReason, at: datetime
) -> bool:
    """End a session of the user; False when they have no such session alive."""
    changed = await tx.execute(
        _END_OWN, brand_id=brand_id, user_id=user_id, session_id=session_id, reason=reason.value, at=at
    )
    return changed > 0


async def end_other_sessions(tx: Tx, brand_id: str, user_id: str, kept_id: str, reason: EndReason, at: datetime) -> int:
    """End all sessions of the user but one; return how many."""
    return await tx.execute(
        _END_OTHERS, brand_id=brand_id, user_id=user_id, kept_id=kept_id, reason=reason.value, at=at
    )


async def is_alive(tx: Tx, brand_id: str, user_id: str, session_id: str) -> bool:
    """Return whether the session is the user's and alive.

    With the user's row locked this holds until the transaction ends, but for a logout: what revokes a session locks the
    user before it commits.
    """
    return await tx.find(_IS_ALIVE, brand_id=brand_id, user_id=user_id, session_id=session_id) is not None


async def was_revoked(tx: Tx, brand_id: str, session_id: str) -> bool:
    """Return whether the session was revoked; also True for one that no longer exists."""
    row = await tx.find(_FIND_END_REASON, brand_id=brand_id, session_id=session_id)
    return row is None or row[0] in REVOKING_REASONS


async def touch_session(tx: Tx, brand_id: str, session_id: str, at: datetime, latest: datetime) -> None:
    """Set ``last_used_at`` to ``at``, unless a later use is recorded that is not after ``latest``."""
    await tx.execute(_TOUCH, brand_id=brand_id, session_id=session_id, at=at, latest=latest)


async def list_own_sessions(
    tx: Tx, brand_id: str, user_id: str, at: datetime, limit: int, offset: int
) -> list[SessionRow]:
    """The user's sessions that can still be used, newest first."""
    rows = await tx.list(_LIST_OWN, brand_id=brand_id, user_id=user_id, at=at, limit=limit, offset=offset)
    return [_session(*row) for row in rows]


async def count_own_sessions(tx: Tx, brand_id: str, user_id: str, at: datetime) -> int:
    """The number of those sessions."""
    row = await tx.find(_COUNT_OWN, brand_id=brand_id, user_id=user_id, at=at)
    return int(row[0]) if row else 0


def _session(
    session_id: str,
    kind: str,
    created_at: datetime,
    last_used_at: datetime | None,
    ip_prefix: str | None,
    user_agent: str | None,
    last_issued: datetime,
) -> SessionRow:
    # A rotation is a use too, and is recorded with the token only.
    return SessionRow(session_id, kind, created_at, max(last_used_at or created_at, last_issued), ip_prefix, user_agent)
