"""The entities of a brand, ready for use: read once per version of the brand's schema and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from keystead.context import ActiveBrand
from keystead.db.engine import Database
from keystead.entities import store
from keystead.entities.access import EntityAccess
from keystead.entities.fields import Check, make_check
from keystead.entities.model import Entity
from keystead.entities.records import Records
from keystead.entities.tables import DialectName
from keystead.errors import NotFound

MOST_BRANDS = 64


class RecordType:
    """One entity with everything that its definition comes to: table, statements, checks and access.

    What only its records need is made with the first of them: the tables of a brand with many entities take seconds
    and tens of MiB to make, and most requests touch one.
    """

    def __init__(self, brand_id: str, entity: Entity, dialect: DialectName) -> None:
        self.brand_id = brand_id
        self.entity = entity
        self.name = entity.name
        self.access = EntityAccess(entity)
        self._dialect: DialectName = dialect

    @cached_property
    def records(self) -> Records:
        """Its statements."""
        return Records(self.brand_id, self.entity, self._dialect)

    @cached_property
    def checks(self) -> Mapping[str, Check]:
        """What stands between a client's value and each field."""
        return {name: make_check(name, field) for name, field in self.entity.fields.items()}

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """What a field holds that was not given."""
        return {name: field.default for name, field in self.entity.fields.items()}


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
        # The version before it stays, for requests under way.
        for outdated in [other for other in kept if other[0] == brand.id and other[1] < brand.schema_version - 1]:
            del kept[outdated]
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
