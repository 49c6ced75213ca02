"""Empties used databases, so that tests share them.

SQLite: a file whose schema changed is restored from the template with SQLite's backup. PostgreSQL: a database that
still differs from its template, in a table, in the catalogue or in size, is replaced by a new copy, which takes ten
times as long.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import asyncpg

# Each change of a table, an index, a function or their like writes a row to one of these; ANALYZE writes to the last.
_CATALOGUE = "class attribute constraint depend index namespace proc trigger type statistic".split()
_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
_SCHEMAS = """
SELECT quote_ident(nspname) FROM pg_namespace WHERE oid >= 16384 AND nspname NOT LIKE 'pg\\_%'
"""
_SIZE = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND oid >= 16384"
_STATISTICS = "SELECT sum(reltuples) + sum(relallvisible) FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'i')"
_SETTINGS = """
SELECT count(*) FROM pg_db_role_setting
WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_OTHERS = """
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_TERMINATE = f"SELECT pg_terminate_backend(pid, 5000) {_OTHERS}"
_CONNECTED = f"SELECT count(*), count(*) FILTER (WHERE state <> 'idle') {_OTHERS}"
# As many as one pool has: more of them were left open by a test.
_MOST_CONNECTIONS = 10
# Deleted rows stay in the files until a vacuum: a database that has grown by more is no longer like a fresh one.
_MOST_GROWTH = 512 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """What distinguishes a database from its template: per table the number of rows and the newest transaction id."""

    rows: Mapping[str, tuple[int, int | None]]
    statistics: float
    settings: int
    size: int

    def is_as(self, template: Contents) -> bool:
        """Whether nothing was added, changed or removed."""
        mine = (self.rows, self.statistics, self.settings)
        return (
            mine == (template.rows, template.statistics, template.settings)
            and self.size <= template.size + _MOST_GROWTH
        )


async def contents(connection: asyncpg.Connection) -> Contents:
    """Of the database that ``connection`` leads to."""
    tables = [row[0] for row in await connection.fetch(_TABLES)]
    count = "SELECT '{0}', count(*), max(xmin::text::bigint) FROM {0}"
    names = [f"pg_{name}" for name in _CATALOGUE] + tables
    counted = await connection.fetch(" UNION ALL ".join(count.format(name) for name in names))
    return Contents(
        {name: (number, newest) for name, number, newest in counted},
        await connection.fetchval(_STATISTICS),
        await connection.fetchval(_SETTINGS),
        await connection.fetchval(_SIZE),
    )


async def wash(connection: asyncpg.Connection, template: Contents, *, terminates: bool) -> bool:
    """Drop added tables and schemas and empty the others; returns whether the database is then like its template.

    ``terminates`` ends all other connections first. Otherwise one that is left in a transaction makes it False.
    """
    if terminates:
        await connection.execute(_TERMINATE)
    else:
        connected, busy = await connection.fetchrow(_CONNECTED)
        if busy or connected > _MOST_CONNECTIONS:
            return False
    added = [row[0] for row in await connection.fetch(_TABLES) if row[0] not in template.rows]
    if added:
        await connection.execute(f"DROP TABLE {', '.join(added)} CASCADE")
    # Entities have their own schema.
    schemas = [row[0] for row in await connection.fetch(_SCHEMAS)]
    if schemas:
        await connection.execute(f"DROP SCHEMA {', '.join(schemas)} CASCADE")
    # Foreign keys and triggers are off: rows are deleted in any order.
    await connection.execute("SET session_replication_role = replica")
    await connection.fetch(_deletion(tuple(template.rows.items())))
    return (await contents(connection)).is_as(template)


@cache
def _deletion(rows: tuple[tuple[str, tuple[int, int | None]], ...]) -> str:
    """One statement that empties all tables that are empty in the template; prepared, and planned once."""
    emptied = [name for name, (number, _) in rows if number == 0 and not name.startswith("pg_")]
    return "WITH " + ", ".join(f"t{n} AS (DELETE FROM {name})" for n, name in enumerate(emptied)) + " SELECT 1"


_SCHEMA = """
SELECT type, name, tbl_name, sql FROM sqlite_master
UNION ALL SELECT 'revision', version_num, '', '' FROM alembic_version
"""


@cache
def _schema_of(template: Path) -> tuple[list[tuple[str, ...]], list[str]]:
    with closing(sqlite3.connect(template)) as connection:
        schema = connection.execute(_SCHEMA).fetchall()
        tables = [name for kind, name, _, _ in schema if kind == "table" and not name.startswith("sqlite_")]
    tables.remove("alembic_version")
    return schema, tables


def wash_sqlite(connection: sqlite3.Connection, template: Path) -> None:
    """Empty the tables; where the schema is not the template's, restore the whole file from it.

    :raises sqlite3.Error: when a connection that a test left open holds a lock.
    """
    schema, tables = _schema_of(template)
    connection.execute("PRAGMA synchronous=OFF")
    if connection.execute(_SCHEMA).fetchall() != schema:
        with closing(sqlite3.connect(template)) as source:
            source.backup(connection)
        return
    connection.execute("BEGIN IMMEDIATE")
    for name in tables:
        if connection.execute(f'SELECT EXISTS (SELECT 1 FROM "{name}")').fetchone()[0]:
            connection.execute(f'DELETE FROM "{name}"')
    connection.execute("COMMIT")
