"""SQL of the audit log, which is append-only."""

from __future__ import annotations

import msgspec
from sqlalchemy import Column, Index, Table, bindparam, func, select

from keystead.audit.model import AuditEvent
from keystead.db.interface import Tx
from keystead.db.statements import Statement, insert, paged
from keystead.db.types import Id, Json, Text, UtcTime, metadata

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Id, primary_key=True),
    # No foreign keys: events outlive their subjects.
    Column("brand_id", Id, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("event", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Id),
    Column("subject_id", Id),
    Column("session_id", Id),
    Column("key_id", Id),
    Column("ip_prefix", Text),
    Column("user_agent", Text),
    Column("request_id", Text),
    Column("details", Json),
    Index("ix_audit_events_brand_id_id", "brand_id", "id"),
)

_COLUMNS = [audit_events.c[name] for name in AuditEvent.__struct_fields__]
_INSERT = Statement(insert(audit_events).values({column.name: bindparam(column.name) for column in _COLUMNS}))
_OF_BRAND = audit_events.c.brand_id == bindparam("brand_id")
_NEWEST_FIRST = audit_events.c.id.desc()
_PAGE = paged(select(audit_events.c.id).where(_OF_BRAND).order_by(_NEWEST_FIRST))
_LIST = Statement(select(*_COLUMNS).where(_OF_BRAND, audit_events.c.id.in_(_PAGE)).order_by(_NEWEST_FIRST))
_COUNT = Statement(select(func.count()).select_from(audit_events).where(_OF_BRAND))


async def insert_event(tx: Tx, brand_id: str, event: AuditEvent) -> None:
    """Insert an event of the brand."""
    await tx.execute(_INSERT, **(msgspec.structs.asdict(event) | {"brand_id": brand_id}))


async def list_events(tx: Tx, brand_id: str, limit: int, offset: int) -> list[AuditEvent]:
    """Return up to ``limit`` events of the brand, newest first."""
    rows = await tx.list(_LIST, brand_id=brand_id, limit=limit, offset=offset)
    return [AuditEvent(**dict(zip(AuditEvent.__struct_fields__, row, strict=True))) for row in rows]


async def count_events(tx: Tx, brand_id: str) -> int:
    """Count the brand's events."""
    row = await tx.find(_COUNT, brand_id=brand_id)
    return int(row[0]) if row else 0
