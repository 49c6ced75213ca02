"""SQL of the registry of entities. Tables of records are built from it at run time, see tables.py and records.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Integer, bindparam, delete, func, select, type_coerce, update

from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement, any_of, insert
from keystead.db.types import Text
from keystead.entities.model import Entity, StoredEntity
from keystead.entity_names.store import entities

_OF_BRAND = entities.c.brand_id == bindparam("brand_id")
# As text: definitions are decoded on a worker thread, not on the event loop.
_AS_TEXT = type_coerce(entities.c.definition, Text)
_COLUMNS = (
    entities.c.id,
    entities.c.name,
    _AS_TEXT,
    entities.c.created_at,
    entities.c.updated_at,
)

_DEFINITIONS = Statement(select(entities.c.name, _AS_TEXT).where(_OF_BRAND).order_by(entities.c.name))
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


async def list_definitions(tx: Tx, brand_id: str) -> list[Row]:
    """Return every entity of the brand, by name, as rows for :func:`read_definition`."""
    return await tx.list(_DEFINITIONS, brand_id=brand_id)


def read_definition(row: Row) -> Entity:
    """Decode a row of :func:`list_definitions`."""
    name, definition = row
    return Entity.from_stored(name, msgspec.json.decode(definition))


async def list_page(tx: Tx, brand_id: str, limit: int, offset: int) -> list[Row]:
    """Return up to ``limit`` entities of the brand, by name, as rows for :func:`read_stored`."""
    return await tx.list(_PAGE, brand_id=brand_id, row_limit=limit, row_offset=offset)


def read_stored(row: Row) -> StoredEntity:
    """Decode a row of :func:`list_page`."""
    entity_id, name, definition, created_at, updated_at = row
    return StoredEntity(entity_id, read_definition((name, definition)), created_at, updated_at)


async def count(tx: Tx, brand_id: str) -> int:
    """Count the brand's entities."""
    row = await tx.find(_COUNT, brand_id=brand_id)
    return int(row[0]) if row else 0


async def insert_entity(tx: Tx, brand_id: str, entity_id: str, entity: Entity, now: datetime) -> None:
    """Add an entity to the registry."""
    await tx.execute(
        _INSERT, id=entity_id, brand_id=brand_id, name=entity.name, definition=entity.as_definition(), now=now
    )


async def update_entity(tx: Tx, brand_id: str, entity: Entity, now: datetime) -> None:
    """Replace an entity's definition."""
    await tx.execute(
        _UPDATE, brand_id=brand_id, entity_name=entity.name, new_definition=entity.as_definition(), now=now
    )


async def delete_entities(tx: Tx, brand_id: str, names: Sequence[str]) -> None:
    """Delete entities from the registry."""
    await tx.execute(_DELETE, brand_id=brand_id, names=list(names))
