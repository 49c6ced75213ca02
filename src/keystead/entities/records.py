"""SQL of one entity's records. A statement is made once for each set of fields that is asked for, and kept.

With a hundred columns that takes milliseconds, so it is done on a worker thread. Statements that write are prepared
before their transaction begins: a transaction never waits for a compilation, as SQLite has one writer for all brands.
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
"""Kept per entity, the oldest dropped: clients may ask for ever new sets of fields."""

Record = dict[str, Any]
Columns = tuple[str, ...]
Prepared = tuple[Statement, Columns]
"""A statement, and the fields that it answers."""


class Records:
    """The records of one entity. ``owner`` narrows an act to the records that one user made; None: all records."""

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
        """Up to ``limit`` records in the order in which they were made, with the fields ``names``."""
        statement, columns = await self._statement(("list", names, owner is None), lambda: self._list(names, owner))
        rows = await tx.list(statement, row_limit=limit, row_offset=offset, **_owner_params(owner))
        return [dict(zip(columns, row, strict=True)) for row in rows]

    async def count(self, tx: Tx, owner: str | None = None) -> int:
        """How many records there are."""
        statement, _ = await self._statement(
            ("count", owner is None), lambda: self._scan_owned(select(func.count()).select_from(self.table), owner)
        )
        row = await tx.find(statement, **_owner_params(owner))
        return int(row[0]) if row else 0

    async def find(self, tx: Tx, record_id: str, names: frozenset[str], owner: str | None = None) -> Record | None:
        """One record by its id."""
        statement, columns = await self._statement(("find", names, owner is None), lambda: self._find(names, owner))
        row = await tx.find(statement, record_id=record_id, **_owner_params(owner))
        return dict(zip(columns, row, strict=True)) if row else None

    async def prepare_insert(self, names: frozenset[str]) -> Prepared:
        """The statement of ``insert``, which answers the fields ``names``."""
        return await self._statement(("insert", names), lambda: self._insert(names))

    async def insert(self, tx: Tx, prepared: Prepared, values: Mapping[str, Any]) -> Record:
        """Makes a record; ``values`` has every field and every system field but ``integer_id``.

        :raises UniqueViolation: when a unique value is taken.
        """
        statement, columns = prepared
        row = await tx.find(statement, **{f"new_{name}": value for name, value in values.items()})
        return dict(zip(columns, row or (), strict=True))

    async def prepare_update(self, changed: Iterable[str], names: frozenset[str], owner: str | None = None) -> Prepared:
        """The statement of ``update`` for the fields ``changed``, which answers the fields ``names``."""
        changes = frozenset(changed)
        return await self._statement(
            ("update", changes, names, owner is None), lambda: self._update(changes, names, owner)
        )

    async def update(
        self, tx: Tx, prepared: Prepared, record_id: str, changes: Mapping[str, Any], owner: str | None = None
    ) -> Record | None:
        """Changes a record; None when there is none to change. ``owner`` is None where it was so in preparation.

        :raises UniqueViolation: when a unique value is taken.
        """
        statement, columns = prepared
        params = {f"new_{name}": value for name, value in changes.items()}
        row = await tx.find(statement, record_id=record_id, **params, **_owner_params(owner))
        return dict(zip(columns, row, strict=True)) if row else None

    async def prepare_delete(self, owner: str | None = None) -> Prepared:
        """The statement of ``delete``."""
        return await self._statement(
            ("delete", owner is None),
            lambda: self._filter_owned(delete(self.table).where(any_of(self.table.c.id, "record_ids")), owner),
        )

    async def delete(self, tx: Tx, prepared: Prepared, record_ids: list[str], owner: str | None = None) -> int:
        """Deletes records by their ids; how many there were. ``owner`` is None where it was so in preparation."""
        statement, _ = prepared
        return await tx.execute(statement, record_ids=record_ids, **_owner_params(owner))

    def taken_field(self, error: UniqueViolation) -> str | None:
        """The field whose unique value was taken."""
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
        """The fields that a statement answers, in its order."""
        answered = expression.selected_columns if isinstance(expression, Select) else expression._returning
        names = {column: name for name, column in self._columns.items()}
        return [names[column] for column in answered if column in names]

    def _selected(self, names: frozenset[str]) -> list[ColumnElement[Any]]:
        return [self._columns[name] for name in sorted(names)] or [self.table.c.id]

    def _scan_owned(self, expression: Any, owner: str | None) -> Any:
        """The records of one owner, by an index."""
        return expression if owner is None else expression.where(self.table.c.created_by == bindparam("owner"))

    def _filter_owned(self, expression: Any, owner: str | None) -> Any:
        """Of records that are found by their ids, those of one owner. By the index, SQLite would read all of theirs."""
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
        """Named apart from the columns: SQLAlchemy keeps those names for itself."""
        return {self._columns[name]: bindparam(f"new_{name}", type_=self._columns[name].type) for name in names}


def _owner_params(owner: str | None) -> dict[str, str]:
    return {} if owner is None else {"owner": owner}
