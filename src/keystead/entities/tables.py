"""Tables of a brand's records, built from definitions at run time.

PostgreSQL: a schema per brand, a table per entity. SQLite, which has no schemas: a table name prefix per brand. A field
``email`` is the column ``f_email``, so that no client's name collides with a keyword or a system column of PostgreSQL,
or is read as a string literal by SQLite, which does that with unknown quoted names.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Date, Identity, Index, MetaData, Table, func
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.ddl import CreateColumn, CreateIndex, CreateSchema, CreateTable, DropIndex, DropTable
from sqlalchemy.types import TypeEngine

from keystead.db.statements import ddl_text, sqlalchemy_dialect
from keystead.db.types import Boolean, Id, Integer, Json, Processor, Real, Text, UtcTime
from keystead.entities.model import Entity, Field, FieldType
from keystead.entities.values import KEY_LENGTH, decode_decimal, encode_decimal

DialectName = Literal["sqlite", "postgresql"]


def _encode(value: Decimal | None) -> str | None:
    return None if value is None else encode_decimal(value)


def _decode(stored: str | None) -> str | None:
    return None if stored is None else decode_decimal(stored)


class ExactDecimal(Text):
    """Column type that binds a ``Decimal`` and returns the text for clients; see :func:`values.encode_decimal`."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Processor:
        """Encode as text that sorts as the number."""
        return _encode

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor:
        """Decode to the number as it was written."""
        return _decode


COLUMN_TYPES: dict[FieldType, type[TypeEngine[Any]]] = {
    FieldType.string: Text,
    FieldType.text: Text,
    FieldType.integer: Integer,
    FieldType.float: Real,
    FieldType.decimal: ExactDecimal,
    FieldType.boolean: Boolean,
    FieldType.date: Date,
    FieldType.datetime: UtcTime,
    FieldType.email: Text,
    FieldType.url: Text,
    FieldType.enum: Text,
    FieldType.json: Json,
    FieldType.uuid: Id,
}


def column_name(field: str) -> str:
    """The column of a field."""
    return f"f_{field}"


def schema_name(brand_id: str) -> str:
    """The PostgreSQL schema of a brand."""
    return f"brand_{brand_id.replace('-', '')}"


def make_table(brand_id: str, entity: Entity, dialect: DialectName) -> Table:
    """Build the table of an entity. It enforces only unique rules; the service checks the others."""
    on_postgresql = dialect == "postgresql"
    table = Table(
        entity.name if on_postgresql else f"e_{brand_id.replace('-', '')}_{entity.name}",
        MetaData(schema=schema_name(brand_id) if on_postgresql else None),
        # The primary key, so that SQLite generates it and lists are read in the order on disk.
        Column("integer_id", Integer, Identity(always=True), primary_key=True),
        Column("id", Id, nullable=False),
        Column("created_at", UtcTime, nullable=False),
        Column("updated_at", UtcTime, nullable=False),
        Column("created_by", Id),
        *(Column(column_name(name), COLUMN_TYPES[field.type]()) for name, field in entity.fields.items()),
        sqlite_autoincrement=True,
    )
    Index(_index_name("uq", brand_id, entity.name, "id"), table.c.id, unique=True)
    Index(_index_name("ix", brand_id, entity.name, "created_by"), table.c.created_by, table.c.integer_id)
    for name, field in entity.fields.items():
        if field.unique or field.indexed:
            kind = "uq" if field.unique else "ix"
            Index(
                _index_name(kind, brand_id, entity.name, column_name(name)),
                _indexed(table.c[column_name(name)], field),
                unique=field.unique,
                info={"field": name},
            )
    return table


def _indexed(column: Column[Any], field: Field) -> ColumnElement[Any]:
    """Return the indexed expression of a column: two spellings of one decimal are one value."""
    if field.type is FieldType.decimal:
        return func.substr(column, 1, KEY_LENGTH)
    return column


def comparable(table: Table, name: str, field: Field) -> ColumnElement[Any]:
    """Return the expression that is equal for equal values of a field."""
    return _indexed(table.c[column_name(name)], field)


def _index_name(kind: str, brand_id: str, entity: str, column: str) -> str:
    """Short enough for PostgreSQL (63), and unique in all of a SQLite file."""
    return f"{kind}_{sha256(f'{brand_id}/{entity}/{column}'.encode()).hexdigest()[:32]}"


def field_indexes(table: Table, name: str) -> dict[str, Index]:
    """The indexes of one field, by name."""
    return {str(index.name): index for index in table.indexes if index.info.get("field") == name}


def create_table(table: Table, dialect: DialectName) -> list[str]:
    """The statements that make the table, its indexes, and its schema where there is none."""
    texts = [ddl_text(CreateSchema(table.schema, if_not_exists=True), dialect)] if table.schema else []
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    return [*texts, ddl_text(CreateTable(table), dialect), *(create_index(index, dialect) for index in indexes)]


def lock_table(table: Table, dialect: DialectName) -> list[str]:
    """Return the statements that lock the table against writes until the transaction ends. On SQLite a write
    transaction locks the whole file."""
    if dialect == "sqlite":
        return []
    name = sqlalchemy_dialect(dialect).identifier_preparer.format_table(table)
    return [f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE"]


def drop_table(table: Table, dialect: DialectName) -> str:
    """The statement that drops the table with its records."""
    return ddl_text(DropTable(table), dialect)


def create_index(index: Index, dialect: DialectName) -> str:
    """The statement that makes the index."""
    return ddl_text(CreateIndex(index), dialect)


def drop_index(index: Index, dialect: DialectName) -> str:
    """The statement that drops the index."""
    return ddl_text(DropIndex(index), dialect)


def add_column(table: Table, name: str, dialect: DialectName) -> str:
    """The statement that adds a field's column, empty."""
    compiler = sqlalchemy_dialect(dialect)
    column = CreateColumn(table.c[column_name(name)]).compile(dialect=compiler)
    return f"ALTER TABLE {compiler.identifier_preparer.format_table(table)} ADD COLUMN {column}"


def drop_column(table: Table, name: str, dialect: DialectName) -> str:
    """The statement that drops a field's column with its values."""
    preparer = sqlalchemy_dialect(dialect).identifier_preparer
    return f"ALTER TABLE {preparer.format_table(table)} DROP COLUMN {preparer.quote(column_name(name))}"


def count_values(table: Table, names: Sequence[str], dialect: DialectName) -> str:
    """Return the query that counts the records and the values of each field, as text: SQLAlchemy takes 50 ms for a
    hundred fields."""
    preparer = sqlalchemy_dialect(dialect).identifier_preparer
    counts = ", ".join(["count(*)", *(f"count({preparer.quote(column_name(name))})" for name in names)])
    return f"SELECT {counts} FROM {preparer.format_table(table)}"  # noqa: S608 - quoted names
