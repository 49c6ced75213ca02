"""Cache of a brand's entities by schema version."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

from keystead.compiler import COMPILER, MATCHER, Coalescer
from keystead.context import ActiveBrand
from keystead.db.interface import Database, Row
from keystead.entities import store
from keystead.entities.access import EntityAccess
from keystead.entities.fields import Check, compile_pattern, make_check
from keystead.entities.model import Entity
from keystead.entities.records import Records
from keystead.entities.tables import DialectName
from keystead.errors import NotFound

MOST_BRANDS = 64
MOST_STEPS = 250_000
"""Limit of pattern matching on the event loop, in RE2 steps of at most about 10 ns."""


class RecordType:
    """One entity with its compiled definition: table, statements, checks and access.

    Table and statements are built lazily on a worker thread: those of a brand with many entities take seconds and tens
    of MiB, and most requests use one entity.
    """

    def __init__(self, brand_id: str, entity: Entity, dialect: DialectName) -> None:
        self.brand_id = brand_id
        self.entity = entity
        self.name = entity.name
        self.access = EntityAccess(entity)
        self._dialect: DialectName = dialect
        self._making: Coalescer[object] = Coalescer()

    @cached_property
    def records(self) -> Records:
        """Its statements; builds them on the calling thread."""
        return Records(self.brand_id, self.entity, self._dialect)

    @cached_property
    def checks(self) -> Mapping[str, Check]:
        """The check of each field."""
        return {name: make_check(name, field) for name, field in self.entity.fields.items()}

    async def get_records(self) -> Records:
        """Return the statements, built on a worker thread."""
        if "records" not in self.__dict__:
            await self._making.run("records", lambda: COMPILER.run(self.brand_id, lambda: self.records))
        return self.records

    async def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Check a client's values; returns the values to store, by field.

        Patterns are compiled, and matched against long texts, on worker threads.

        :raises ValidationError: when a value breaks a rule; names the field.
        """

        def check_all() -> dict[str, Any]:
            return {name: check(values[name]) for name, check in self.checks.items() if name in values}

        if "checks" not in self.__dict__ or "pattern_sizes" not in self.__dict__:
            make = partial(COMPILER.run, self.brand_id, lambda: (self.checks, self.pattern_sizes))
            await self._making.run("checks", make)
        if self._steps(values) <= MOST_STEPS:
            return check_all()
        return await MATCHER.run(self.brand_id, check_all)

    @cached_property
    def pattern_sizes(self) -> Mapping[str, int]:
        """The size of each field's pattern, in RE2 instructions."""
        patterns = {name: field.pattern for name, field in self.entity.fields.items()}
        return {name: compile_pattern(pattern).size for name, pattern in patterns.items() if pattern is not None}

    def _steps(self, values: Mapping[str, Any]) -> int:
        """Return an upper bound of the steps that matching takes."""
        return sum(
            len(text) * size for name, size in self.pattern_sizes.items() if isinstance(text := values.get(name), str)
        )

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """The default of each field."""
        return {name: field.default for name, field in self.entity.fields.items()}


RecordTypes = Mapping[str, RecordType]
_Kept = OrderedDict[tuple[str, int], RecordTypes]

_kept: WeakKeyDictionary[Database, _Kept] = WeakKeyDictionary()
_reading: WeakKeyDictionary[Database, Coalescer[RecordTypes]] = WeakKeyDictionary()


async def record_types(db: Database, brand: ActiveBrand) -> RecordTypes:
    """Return the brand's entities at the schema version of ``brand``, cached.

    The version is part of the key, so the next request sees the change of another worker.
    """
    kept = _kept.setdefault(db, OrderedDict())
    key = (brand.id, brand.schema_version)
    known = kept.get(key)
    if known is None:
        reading = _reading.setdefault(db, Coalescer())
        return await reading.run(key, lambda: _read(db, brand, kept))
    kept.move_to_end(key)
    return known


async def _read(db: Database, brand: ActiveBrand, kept: _Kept) -> RecordTypes:
    rows = await store.list_definitions(db.scans, brand.id)
    known = await COMPILER.run(brand.id, lambda: _record_types(brand.id, rows, db.dialect))
    kept[(brand.id, brand.schema_version)] = known
    # The previous version stays, for requests in flight.
    for outdated in [other for other in kept if other[0] == brand.id and other[1] < brand.schema_version - 1]:
        del kept[outdated]
    if len(kept) > MOST_BRANDS:
        kept.popitem(last=False)
    return known


def _record_types(brand_id: str, rows: Sequence[Row], dialect: DialectName) -> RecordTypes:
    entities = map(store.read_definition, rows)
    return {entity.name: RecordType(brand_id, entity, dialect) for entity in entities}


async def get_record_type(db: Database, brand: ActiveBrand, name: str) -> RecordType:
    """Return one entity of the brand.

    :raises NotFound: when the brand has no entity of this name.
    """
    known = (await record_types(db, brand)).get(name)
    if known is None:
        raise NotFound(f"There is no entity '{name[:80]}'.")
    return known
