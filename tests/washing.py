"""Makes a used PostgreSQL database as good as a fresh copy of its template, where that can be shown to have worked.

The server takes ten times as long for a copy. Whatever differs from the template afterwards, in a table, in the
catalogue or in size, makes the database one to be thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

# Each change of a table, an index, a function or their like writes a row to one of these; ANALYZE writes to the last.
_CATALOGUE = "class attribute constraint depend index namespace proc trigger type statistic".split()
_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
_SIZE = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND oid >= 16384"
_STATISTICS = "SELECT sum(reltuples) + sum(relallvisible) FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'i')"
_SETTINGS = """
SELECT count(*) FROM pg_db_role_setting
WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# Deleted rows stay in the files until a vacuum: a database that has grown by more is no longer like a fresh one.
_MOST_GROWTH = 512 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """What tells a database from its template: how many rows each table has, and which transaction wrote the newest."""

    rows: Mapping[str, tuple[int, int | None]]
    statistics: float
    settings: int
    size: int

    def is_as(self, template: Contents) -> bool:
        """Whether nothing was added, changed or taken away."""
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


async def wash(connection: asyncpg.Connection, template: Contents) -> bool:
    """Throw everybody out, drop tables that were added, empty the others; whether this gave what the template is."""
    await connection.execute(_OTHERS)
    added = [row[0] for row in await connection.fetch(_TABLES) if row[0] not in template.rows]
    if added:
        await connection.execute(f"DROP TABLE {', '.join(added)} CASCADE")
    emptied = [name for name, (number, _) in template.rows.items() if number == 0 and not name.startswith("pg_")]
    # Rows go whatever refers to them, and no trigger stops or records it.
    deletions = "; ".join(f"DELETE FROM {name}" for name in emptied)
    await connection.execute(f"SET session_replication_role = replica; {deletions}; RESET session_replication_role")
    return (await contents(connection)).is_as(template)
