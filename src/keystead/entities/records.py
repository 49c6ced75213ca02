"""SQL of one entity's records, with a cache of compiled statements by set of fields.

Compiling takes milliseconds for a hundred columns, so it runs on a worker thread. Statements that write are prepared
before their transaction starts: SQLite has one writer for all brands, and a transaction must not wait for a compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Update, bindparam, delete, func, select, update
from sqlalchemy.sql import Executable

from keystead.compiler import COMPILER, Coalescer
from keystead.db.interface import Tx, UniqueViolation
from keystead.db.statements import Statement, any_of, insert, unindexed
from keystead.entities.model import Entity
from keystead.entities.names import SYSTEM_FIELDS
from keystead.entities.tables import DialectName, column_name, make_table

MOST_STATEMENTS = 64
"""Cached per entity, oldest evicted: clients may select arbitrary sets of fields."""

Record = dict[str, Any]
Columns = tuple[str, ...]
Prepared = tuple[Statement, Columns]
"""A statement and the fields that it returns."""


class Records:
    """The records of one entity. ``owner`` limits an operation to the records that one user created; None: all."""

    def __init__(self, brand_id: str, entity: Entity, dialect: DialectName) -> None:
        self.table = make_table(brand_id, entity, dialect)
        self._brand_id = brand_id
        self._dialect = dialect
        self._columns: dict[str, ColumnElement[Any]] = {name: self.table.c[name] for name in SYSTEM_FIELDS}
        self._columns |= {name: self.table.c[column_name(name)] for name in entity.fields}
        self._fields = tuple(entity.fields)
        self._statements: dict[Hashable, Prepared] = {}
        self._compiling: Coalescer[Prepared] = Coalescer()

    async def page(
        self, tx: Tx, names: frozenset[str], limit: int, offset: int, owner: str | None = None
    ) -> list[Record]:
        """Return up to ``limit`` records with the fields ``names``, oldest first."""
        statement, columns = await self._statement(("list", names, owner is None), lambda: self._list(names, owner))
        rows = await tx.list(statement, row_limit=limit, row_offset=offset, **_owner_params(owner))
        return [dict(zip(columns, row, strict=True)) for row in rows]

    async def count(self, tx: Tx, owner: str | None = None) -> int:
        """Count records."""
        statement, _ = await self._statement(
            ("count", owner is None), lambda: self._scan_owned(select(func.count()).select_from(self.table), owner)
        )
        row = await tx.find(statement, **_owner_params(owner))
        return int(row[0]) if row else 0

    async def find(self, tx: Tx, record_id: str, names: frozenset[str], owner: str | None = None) -> Record | None:
        """Return a record by its id."""
        statement, columns = await self._statement(("find", names, owner is None), lambda: self._find(names, owner))
        row = await tx.find(statement, record_id=record_id, **_owner_params(owner))
        return dict(zip(columns, row, strict=True)) if row else None

    async def prepare_insert(self, names: frozenset[str]) -> Prepared:
        """Compile the statement of ``insert``, which returns the fields ``names``."""
        return await self._statement(("insert", names), lambda: self._insert(names))

    async def insert(self, tx: Tx, prepared: Prepared, values: Mapping[str, Any]) -> Record:
        """Insert a record; ``values`` has every field and every system field except ``integer_id``.

        :raises UniqueViolation: when a unique value is taken.
        """
        statement, columns = prepared
        row = await tx.find(statement, **{f"new_{name}": value for name, value in values.items()})
        return dict(zip(columns, row or (), strict=True))

    async def prepare_update(self, changed: Iterable[str], names: frozenset[str], owner: str | None = None) -> Prepared:
        """Compile the statement of ``update`` for the fields ``changed``, which returns the fields ``names``."""
        changes = frozenset(changed)
        return await self._statement(
            ("update", changes, names, owner is None), lambda: self._update(changes, names, owner)
        )

    async def update(
        self, tx: Tx, prepared: Prepared, record_id: str, changes: Mapping[str, Any], owner: str | None = None
    ) -> Record | None:
        """Update a record; returns None if there is none. ``owner`` is None if it was None for :meth:`prepare_update`.

        :raises UniqueViolation: when a unique value is taken.
        """
        statement, columns = prepared
        params = {f"new_{name}": value for name, value in changes.items()}
        row = await tx.find(statement, record_id=record_id, **params, **_owner_params(owner))
        return dict(zip(columns, row, strict=True)) if row else None

    async def prepare_delete(self, owner: str | None = None) -> Prepared:
        """Compile the statement of ``delete``."""
        return await self._statement(
            ("delete", owner is None),
            lambda: self._filter_owned(delete(self.table).where(any_of(self.table.c.id, "record_ids")), owner),
        )

    async def delete(self, tx: Tx, prepared: Prepared, record_ids: list[str], owner: str | None = None) -> int:
        """Delete records by id; returns their number. ``owner`` is None if it was None for :meth:`prepare_delete`."""
        statement, _ = prepared
        return await tx.execute(statement, record_ids=record_ids, **_owner_params(owner))

    def taken_field(self, error: UniqueViolation) -> str | None:
        """Return the field whose unique value is taken."""
        for index in self.table.indexes:
            if index.name == error.constraint and "field" in index.info:
                return str(index.info["field"])
        return next((name for name in self._fields if column_name(name) in error.columns), None)

    async def _statement(self, key: Hashable, make: Callable[[], Executable]) -> Prepared:
        known = self._statements.get(key)
        return known or await self._compiling.run(key, lambda: self._compile_statement(key, make))

    async def _compile_statement(self, key: Hashable, make: Callable[[], Executable]) -> Prepared:
        known = await COMPILER.run(self._brand_id, lambda: self._compiled(make()))
        while len(self._statements) >= MOST_STATEMENTS:
            del self._statements[next(iter(self._statements))]
        self._statements[key] = known
        return known

    def _compiled(self, expression: Any) -> Prepared:
        statement = Statement(expression)
        statement.compiled(self._dialect)
        return statement, tuple(self._shown(expression))

    def _shown(self, expression: Any) -> list[str]:
        """Return the fields that a statement returns, in order."""
        answered = expression.selected_columns if isinstance(expression, Select) else expression._returning
        names = {column: name for name, column in self._columns.items()}
        return [names[column] for column in answered if column in names]

    def _selected(self, names: frozenset[str]) -> list[ColumnElement[Any]]:
        return [self._columns[name] for name in sorted(names)] or [self.table.c.id]

    def _scan_owned(self, expression: Any, owner: str | None) -> Any:
        """Filter by owner, using the index."""
        return expression if owner is None else expression.where(self.table.c.created_by == bindparam("owner"))

    def _filter_owned(self, expression: Any, owner: str | None) -> Any:
        """Filter records found by id by owner. With the owner index, SQLite would read all records of the owner."""
        is_own = unindexed(self.table.c.created_by == bindparam("owner"))
        return expression if owner is None else expression.where(is_own)

    def _list(self, names: frozenset[str], owner: str | None) -> Select[Any]:
        expression: Select[Any] = self._scan_owned(select(*self._selected(names)), owner)
        return (
            expression.order_by(self.table.c.integer_id)
            .limit(bindparam("row_limit", type_=Integer))
            .offset(bindparam("row_offset", type_=Integer))
        )

    def _find(self, names: frozenset[str], owner: str | None) -> Select[Any]:
        expression: Select[Any] = self._filter_owned(select(*self._selected(names)), owner)
        return expression.where(self.table.c.id == bindparam("record_id"))

    def _insert(self, names: frozenset[str]) -> Executable:
        given = [name for name in self._columns if name != "integer_id"]
        return insert(self.table).values(self._parameters(given)).returning(*self._selected(names))

    def _update(self, changed: frozenset[str], names: frozenset[str], owner: str | None) -> Update:
        expression: Update = self._filter_owned(update(self.table), owner)
        return (
            expression.where(self.table.c.id == bindparam("record_id"))
            .values(self._parameters(sorted(changed)))
            .returning(*self._selected(names))
        )

    def _parameters(self, names: list[str]) -> dict[Any, Any]:
        """Return bound parameters with a prefix: SQLAlchemy reserves the names of columns."""
        return {self._columns[name]: bindparam(f"new_{name}", type_=self._columns[name].type) for name in names}


def _owner_params(owner: str | None) -> dict[str, str]:
    return {} if owner is None else {"owner": owner}
