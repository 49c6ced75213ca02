"""Compile SQLAlchemy Core expressions to SQL text, once per dialect.

Stores keep statements as module-level constants. Text, parameter order and converters are compiled on first use, so
that a call costs little more than the driver. ``insert`` is PostgreSQL's, whose ``ON CONFLICT`` compiles for SQLite
too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from sqlalchemy import Boolean, ColumnElement, Integer, Select, bindparam, select, true, types
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import insert as insert
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import Executable, Insert
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.ddl import ExecutableDDLElement
from sqlalchemy.sql.dml import UpdateBase

from keystead.db.brand_scope import require_brand
from keystead.db.brand_scope_rules import UnboundBrand
from keystead.db.types import ListOf, Processor

__all__ = ["Compiled", "Statement", "UnboundBrand", "any_of", "ddl_text", "insert", "paged", "unindexed"]


Shape = Callable[[Sequence[Any]], Any]

MOST_SHAPED = 4096
"""Shaped rows that a statement caches, about a kilobyte each."""


@cache
def sqlalchemy_dialect(name: Literal["sqlite", "postgresql"]) -> Dialect:
    """SQLAlchemy's dialect without a driver, to compile text."""
    if name == "sqlite":
        return sqlite.dialect(paramstyle="qmark")
    make: Callable[..., Dialect] = PGDialect_asyncpg
    return make(paramstyle="numeric_dollar")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled statement: its text, its parameters in order, and how to decode a row."""

    text: str
    parameters: tuple[tuple[str, Processor | None], ...]
    constants: dict[str, Any]
    results: tuple[Processor | None, ...] | None
    writes: bool
    shape: Shape | None = None
    shaped: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False, compare=False)
    names: frozenset[str] = field(init=False)
    arity: int = field(init=False)

    def __post_init__(self) -> None:
        names = frozenset(name for name, _ in self.parameters) - self.constants.keys()
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "arity", len(names))

    def bind(self, params: dict[str, Any]) -> list[Any]:
        """The values in the driver's order.

        :raises TypeError: when a parameter is missing or unknown.
        """
        if len(params) != self.arity or not self.names.issuperset(params):
            missing, unknown = sorted(self.names - params.keys()), sorted(params.keys() - self.names)
            raise TypeError(f"parameters missing: {missing}, unknown: {unknown}")
        if self.constants:
            params = {**params, **self.constants}
        return [params[name] if process is None else process(params[name]) for name, process in self.parameters]

    def decode(self, row: Sequence[Any]) -> Any:
        """Decode one row to a tuple of Python values, or to the result of the statement's ``shape``."""
        if self.shape is not None:
            return self._shaped(tuple(row), self.shape)
        if self.results is None:
            return tuple(row)
        return tuple([value if read is None else read(value) for read, value in zip(self.results, row, strict=True)])

    def _shaped(self, raw: tuple[Any, ...], shape: Shape) -> Any:
        """Decode a row, or return the shared value of an equal row (cached)."""
        value = self.shaped.get(raw)
        if value is None:
            if len(self.shaped) >= MOST_SHAPED:
                self.shaped.clear()
            results = self.results or (None,) * len(raw)
            row = tuple([value if read is None else read(value) for read, value in zip(results, raw, strict=True)])
            value = self.shaped[raw] = shape(row)
        return value


class Statement:
    """One SQL statement, bound to a brand.

    ``unbranded`` is the reason why a statement need not be bound to one (a digest lookup, the sweeper).
    ``shape`` makes an immutable value of a row, cached by the row: for rows that every request reads and that rarely
    change. The database is queried every time all the same.
    """

    __slots__ = ("expression", "for_postgresql", "for_sqlite", "shape", "unbranded")

    def __init__(self, expression: Executable, *, unbranded: str | None = None, shape: Shape | None = None) -> None:
        self.expression = expression
        self.unbranded = unbranded
        self.shape = shape
        self.for_sqlite: Compiled | None = None
        self.for_postgresql: Compiled | None = None

    def compiled(self, dialect: Literal["sqlite", "postgresql"]) -> Compiled:
        """The statement for one dialect, compiled on first use.

        :raises UnboundBrand: when it is not bound to a brand.
        """
        ready = self.for_sqlite if dialect == "sqlite" else self.for_postgresql
        if ready is not None:
            return ready
        if not self.unbranded:
            require_brand(self.expression)
        made = _compile(self.expression, sqlalchemy_dialect(dialect), self.shape)
        if dialect == "sqlite":
            self.for_sqlite = made
        else:
            self.for_postgresql = made
        return made


def _compile(expression: Any, dialect: Dialect, shape: Shape | None) -> Compiled:
    if isinstance(expression, Insert) and not expression._returning:
        # Otherwise SQLAlchemy adds a RETURNING for generated keys.
        expression = expression.inline()
    compiler = expression.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    processors = compiler._bind_processors
    order = tuple(compiler.positiontup or ())
    required = {name for name, bind in compiler.binds.items() if bind.required}
    values = compiler.construct_params(_check=False)
    return Compiled(
        text=compiler.string,
        parameters=tuple((name, processors.get(name)) for name in order),
        constants={name: values[name] for name in order if name not in required},
        results=_readers(compiler, dialect),
        writes=isinstance(expression, UpdateBase),
        shape=shape,
    )


def _readers(compiler: SQLCompiler, dialect: Dialect) -> tuple[Processor | None, ...] | None:
    readers = tuple(_reader(column.type, dialect) for column in compiler._result_columns)
    return readers if any(readers) else None


def _reader(kind: types.TypeEngine[Any], dialect: Dialect) -> Processor | None:
    if dialect.name == "postgresql" and isinstance(kind, types.Numeric | types.LargeBinary):
        return None  # asyncpg returns float, Decimal and bytes itself
    return kind._cached_result_processor(dialect, None)


class _AnyOf(ColumnElement[bool]):
    """``column IN (the values of one list parameter)``."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.values = bindparam(name, type_=ListOf(column.type))

    @property
    def _from_objects(self) -> list[Any]:
        return self.column._from_objects

    def self_group(self, against: Any = None) -> _AnyOf:
        """Itself: SQLAlchemy would add ``= 1`` on SQLite, which prevents the use of the index."""
        return self

    def get_children(self, **kwargs: Any) -> Any:
        """The children, for traversals of the expression."""
        return (self.column, self.values)


@compiles(_AnyOf, "postgresql")
def _any_of_postgresql(element: _AnyOf, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"{compiler.process(element.column, **kwargs)} = ANY({compiler.process(element.values, **kwargs)})"


@compiles(_AnyOf, "sqlite")
def _any_of_sqlite(element: _AnyOf, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, values = compiler.process(element.column, **kwargs), compiler.process(element.values, **kwargs)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both parts are compiled SQL


def any_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """``column IN (...)`` with all values in one list parameter ``name``."""
    return _AnyOf(column, name)


def paged(ids: Select[Any]) -> Select[Any]:
    """Limit ``ids`` to one page, by the parameters ``limit`` and ``offset``.

    The numbers are subqueries, so that PostgreSQL does not know them when it plans: without statistics it would sort
    all rows of a brand for a deep page.
    """
    limit, offset = (select(bindparam(name, type_=Integer())).scalar_subquery() for name in ("limit", "offset"))
    return ids.limit(limit).offset(offset)


def unindexed(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """``condition`` in a form that uses no index, to filter rows that another condition has found."""
    return condition.is_(true())


def ddl_text(element: ExecutableDDLElement | str, dialect: Literal["sqlite", "postgresql"]) -> str:
    """The text of CREATE, ALTER or DROP for one dialect."""
    return element if isinstance(element, str) else str(element.compile(dialect=sqlalchemy_dialect(dialect)))
