"""Create indexes in migrations, which an operator may have built beforehand without downtime."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

_REPLACED = "_replaced"
_IS_INVALID = sa.text("SELECT true FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
_LIST_REPLACED = sa.text(
    "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
    " WHERE NOT indisvalid AND relname LIKE '%' || :ending AND pg_table_is_visible(pg_class.oid)"
)


def create_index(name: str, table: str, columns: list[str], condition: str | None = None) -> None:
    """Create an index if it does not exist; on PostgreSQL, replace an invalid one of a failed CREATE INDEX
    CONCURRENTLY.

    The invalid index is renamed, which blocks no reader, and dropped by :func:`drop_replaced`.
    """
    only = None if condition is None else sa.text(condition)
    connection = op.get_bind()
    if connection.dialect.name == "postgresql" and connection.scalar(_IS_INVALID, {"name": name}):
        op.execute(f"ALTER INDEX {name} RENAME TO {name}{_REPLACED}")
    op.create_index(name, table, columns, unique=False, if_not_exists=True, sqlite_where=only, postgresql_where=only)


def drop_replaced() -> None:
    """Drop the indexes that :func:`create_index` replaced; last in a migration: it locks the tables until COMMIT."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for name in connection.scalars(_LIST_REPLACED, {"ending": _REPLACED}).all():
            op.execute(f"DROP INDEX {name}")
