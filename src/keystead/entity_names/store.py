"""SQL of the names in the registry of entities.

The table is defined here, in a layer below everything that grants permissions; :mod:`keystead.entities` reads and
writes the definitions.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, ForeignKey, Index, Table, bindparam, select

from keystead.db.interface import Tx
from keystead.db.statements import Statement, any_of
from keystead.db.types import Id, Json, Text, UtcTime, metadata

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
# FOR KEY SHARE, as for a foreign key: blocks deletion, but not a change of the definition.
_LOCK = Statement(
    select(entities.c.name)
    .where(_OF_BRAND, any_of(entities.c.name, "names"))
    .order_by(entities.c.name)
    .with_for_update(key_share=True, read=True)
)
_NAMES = Statement(select(entities.c.name).where(_OF_BRAND).order_by(entities.c.name))


async def lock_names(tx: Tx, brand_id: str, names: Sequence[str]) -> list[str]:
    """Lock entities against deletion until the transaction ends; returns those of ``names`` that exist."""
    return [row[0] for row in await tx.list(_LOCK, brand_id=brand_id, names=list(names))]


async def list_names(tx: Tx, brand_id: str) -> list[str]:
    """Return the names of the brand's entities."""
    return [row[0] for row in await tx.list(_NAMES, brand_id=brand_id)]
