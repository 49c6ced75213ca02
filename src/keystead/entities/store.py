"""SQL of the registry of entities. The records' own tables are made from it at run time: tables.py and records.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, bindparam, delete, func, select, update

from keystead.db.engine import Row, Tx
from keystead.db.statements import Statement, any_of, insert
from keystead.db.types import Id, Json, Text, UtcTime, metadata
from keystead.entities.model import Entity, StoredEntity

entities = Table(
    "entities",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("definition", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Index("uq_entities_brand_id_name", "brand_id", "name", unique=True),
)

_OF_BRAND = entities.c.brand_id == bindparam("brand_id")
_COLUMNS = (
    entities.c.id,
    entities.c.name,
    entities.c.definition,
    entities.c.created_at,
    entities.c.updated_at,
)

_ALL = Statement(select(*_COLUMNS).where(_OF_BRAND).order_by(entities.c.name))
_PAGE = Statement(
    select(*_COLUMNS)
    .where(_OF_BRAND)
    .order_by(entities.c.name)
    .limit(bindparam("row_limit", type_=Integer))
    .offset(bindparam("row_offset", type_=Integer))
)
_COUNT = Statement(select(func.count()).select_from(entities).where(_OF_BRAND))
_INSERT = Statement(
    insert(entities).values(
        id=bindparam("id"),
        brand_id=bindparam("brand_id"),
        name=bindparam("name"),
        definition=bindparam("definition"),
        created_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_UPDATE = Statement(
    update(entities)
    .where(_OF_BRAND, entities.c.name == bindparam("entity_name"))
    .values(definition=bindparam("new_definition"), updated_at=bindparam("now"))
)
_DELETE = Statement(delete(entities).where(_OF_BRAND, any_of(entities.c.name, "names")))


async def list_all(tx: Tx, brand_id: str) -> list[StoredEntity]:
    """Every entity of the brand, by name."""
    return [_stored(row) for row in await tx.list(_ALL, brand_id=brand_id)]


async def list_page(tx: Tx, brand_id: str, limit: int, offset: int) -> list[StoredEntity]:
    """Up to ``limit`` entities of the brand, by name."""
    rows = await tx.list(_PAGE, brand_id=brand_id, row_limit=limit, row_offset=offset)
    return [_stored(row) for row in rows]


async def count(tx: Tx, brand_id: str) -> int:
    """How many entities the brand has."""
    row = await tx.find(_COUNT, brand_id=brand_id)
    return int(row[0]) if row else 0


async def insert_entity(tx: Tx, brand_id: str, entity_id: str, entity: Entity, now: datetime) -> None:
    """Writes a new entity to the registry."""
    await tx.execute(
        _INSERT, id=entity_id, brand_id=brand_id, name=entity.name, definition=entity.as_definition(), now=now
    )


async def update_entity(tx: Tx, brand_id: str, entity: Entity, now: datetime) -> None:
    """Replaces an entity's definition."""
    await tx.execute(
        _UPDATE, brand_id=brand_id, entity_name=entity.name, new_definition=entity.as_definition(), now=now
    )


async def delete_entities(tx: Tx, brand_id: str, names: Sequence[str]) -> None:
    """Takes entities out of the registry."""
    await tx.execute(_DELETE, brand_id=brand_id, names=list(names))


def _stored(row: Row) -> StoredEntity:
    entity_id, name, definition, created_at, updated_at = row
    return StoredEntity(entity_id, Entity.from_stored(name, definition), created_at, updated_at)
