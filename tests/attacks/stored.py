"""All rows that a server has stored, for comparison before and after."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, select

from keystead.context import Server
from keystead.db.interface import Row
from keystead.db.statements import Statement
from keystead.db.types import metadata
from keystead.entities import store as entities
from keystead.entities.tables import make_table
from tests.databases import import_stores

NOTICES = {"audit_events"}
"""Tables that a denied operation may write to."""
_TRACES = {"last_used_at"}


async def stored(server: Server) -> dict[str, list[Row]]:
    """Every row of every table, the records of all entities among them, but for audit events and times of use."""
    import_stores()
    found = {name: await _rows(server, table) for name, table in metadata.tables.items() if name not in NOTICES}
    for (brand_id,) in await _rows(server, metadata.tables["brands"], "id"):
        for row in await entities.list_definitions(server.db.scans, brand_id):
            entity = entities.read_definition(row)
            table = make_table(brand_id, entity, server.db.dialect)
            found[f"{brand_id}/{entity.name}"] = await _rows(server, table)
    return found


async def _rows(server: Server, table: Table, *names: str) -> list[Row]:
    columns: list[Any] = [table.c[name] for name in names] or [c for c in table.c if c.name not in _TRACES]
    ordered = select(*columns).order_by(*table.primary_key)
    return await server.db.scans.list(Statement(ordered, unbranded="a test compares all there is"))
