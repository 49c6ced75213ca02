"""The entities of a brand, ready for use: read once per version of the brand's schema and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from keystead.context import ActiveBrand
from keystead.db.engine import Database
from keystead.entities import store
from keystead.entities.access import EntityAccess
from keystead.entities.fields import make_check
from keystead.entities.model import Entity
from keystead.entities.records import Records
from keystead.entities.tables import DialectName
from keystead.errors import NotFound

MOST_BRANDS = 64


class RecordType:
    """One entity with everything that its definition comes to: table, statements, checks and access."""

    def __init__(self, brand_id: str, entity: Entity, dialect: DialectName) -> None:
        self.brand_id = brand_id
        self.entity = entity
        self.name = entity.name
        self.records = Records(brand_id, entity, dialect)
        self.access = EntityAccess(entity)
        self.checks = {name: make_check(name, field) for name, field in entity.fields.items()}
        self.defaults: dict[str, Any] = {name: field.default for name, field in entity.fields.items()}


RecordTypes = Mapping[str, RecordType]
_Kept = OrderedDict[tuple[str, int], RecordTypes]

_kept: WeakKeyDictionary[Database, _Kept] = WeakKeyDictionary()


async def record_types(db: Database, brand: ActiveBrand) -> RecordTypes:
    """The brand's entities at the version that its row named when the request was authenticated.

    The version is part of the key, so what another worker changed is read anew by the next request.
    """
    kept = _kept.setdefault(db, OrderedDict())
    key = (brand.id, brand.schema_version)
    known = kept.get(key)
    if known is None:
        stored = await store.list_all(db.reads, brand.id)
        known = {one.entity.name: RecordType(brand.id, one.entity, db.dialect) for one in stored}
        kept[key] = known
        if len(kept) > MOST_BRANDS:
            kept.popitem(last=False)
    else:
        kept.move_to_end(key)
    return known


async def get_record_type(db: Database, brand: ActiveBrand, name: str) -> RecordType:
    """One entity of the brand.

    :raises NotFound: when the brand has none of this name.
    """
    known = (await record_types(db, brand)).get(name)
    if known is None:
        raise NotFound(f"There is no entity '{name[:80]}'.")
    return known
