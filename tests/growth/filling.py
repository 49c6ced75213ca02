"""Fill a migrated database with many users and their rows, by SQL and without statistics."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import Column, Table
from sqlalchemy import types as sa

from keystead.db.types import Boolean, Digest, Id, Integer, Json, UtcTime, metadata

TIME = "2026-01-01T00:00:00.000000Z"
"""When all of it was made."""
BRAND = "01900000-0000-7000-8000-000000000001"


@dataclass(frozen=True)
class _Sql:
    """SQL that differs between the databases. ``n`` is the number of the row, from 1."""

    series: str
    uuid: str
    digest: str
    number: str
    true: str
    false: str


_SQLITE = _Sql(
    series="(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {rows}) SELECT n FROM c)",
    uuid="printf('01900000-{kind}-7000-8000-%012x', {n})",
    digest="randomblob(32)",
    number="CAST({n} AS TEXT)",
    true="1",
    false="0",
)
_POSTGRESQL = _Sql(
    series="generate_series(1, {rows}::bigint) AS c(n)",
    uuid="('01900000-{kind}-7000-8000-' || lpad(to_hex({n}), 12, '0'))",
    digest="sha256(convert_to(n || '{kind}', 'UTF8'))",
    number="({n})::text",
    true="true",
    false="false",
)


def sizes(users: int) -> dict[str, int]:
    """The number of rows of each table."""
    return {
        "brands": 2_000, "brand_tokens": 2_000, "users": users, "roles": 200, "user_roles": users,
        "sessions": users * 3 // 2, "refresh_tokens": users * 3, "one_time_tokens": users // 2,
        "api_keys": users // 2, "api_key_secrets": users // 2, "audit_events": users, "mails": users // 2,
        "mail_recipients": users, "mail_requests": users // 2, "mail_templates": 200, "entities": 2_000,
    }  # fmt: skip


def _values(sql: _Sql, users: int) -> dict[str, dict[str, str]]:
    """By table and column, the SQL of what is more than the default of its type."""

    def uuid(kind: str, n: str = "n") -> str:
        return sql.uuid.format(kind=kind, n=n)

    def text(prefix: str, n: str = "n") -> str:
        return f"('{prefix}' || {sql.number.format(n=n)})"

    some_user = uuid("aaaa", f"((n * 7919) % {users}) + 1")
    address = text("user-") + " || '@example.com'"
    return {
        "brands": {"id": uuid("bbbb"), "name": text("brand-"), "preset": "'pair'", "features": "'{}'"}
        | {"policy": "'{}'", "redirect_urls": "'[]'"},
        "brand_tokens": {"id": uuid("bbb1"), "brand_id": uuid("bbbb")},
        "users": {"id": uuid("aaaa"), "email": address, "email_canonical": address, "email_skeleton": address}
        | {"verified_at": f"'{TIME}'", "password_hash": "'$argon2id$'"},
        "roles": {"name": text("role-")},
        "user_roles": {"user_id": uuid("aaaa"), "role_name": text("role-", "(n % 200) + 1")},
        "sessions": {"id": uuid("cccc"), "user_id": some_user, "kind": "'pair'", "last_used_at": f"'{TIME}'"}
        | {"ended_at": f"CASE WHEN n % 20 = 0 THEN '{TIME}' END"},
        # One that was rotated and its successor for each session.
        "refresh_tokens": {"session_id": uuid("cccc", "(n + 1) / 2"), "generation": "n % 2", "expires_at": f"'{TIME}'"}
        | {"rotated_at": f"CASE WHEN n % 2 = 0 THEN '{TIME}' END", "rotation_key_id": "'1'"},
        "one_time_tokens": {"user_id": uuid("aaaa"), "purpose": "'login'"}
        | dict.fromkeys(("email", "email_canonical", "email_skeleton"), address),
        "api_keys": {"id": uuid("eeee"), "created_by": some_user},
        "api_key_secrets": {"key_id": uuid("eeee")},
        "audit_events": {"id": uuid("ffff"), "event": "'login.succeeded'", "subject_id": some_user},
        "mails": {"id": uuid("dddd"), "user_id": some_user, "kind": "'verify'"}
        | {"state": "CASE WHEN n % 100 = 0 THEN 'dead' ELSE 'delivered' END"},
        "mail_requests": {"id": uuid("bbb3"), "source": text("", "n % 100"), "user_id": "NULL"},
        "mail_templates": {"language": text("x-"), "kind": "'verify'"},
        "entities": {"id": uuid("bbb2"), "brand_id": uuid("bbbb"), "name": text("thing")},
    }


def _default(column: Column[Any], sql: _Sql, kind: str) -> str:
    """The SQL of a value for a column that must have one."""
    known: list[tuple[type[sa.TypeEngine[Any]], str]] = [
        (Digest, sql.digest.format(kind=kind)), (UtcTime, f"'{TIME}'"), (Boolean, sql.false), (Integer, "0"),
        (Json, "'{}'"), (Id, f"'{BRAND}'"),
    ]  # fmt: skip
    return next((value for type_, value in known if isinstance(column.type, type_)), "''")


def _insert(table: Table, rows: int, sql: _Sql, values: dict[str, str], brand_id: str) -> str:
    given: dict[str, str] = {}
    for column in table.columns:
        if column.name in values:
            given[column.name] = values[column.name]
        elif column.name == "brand_id":
            given[column.name] = f"'{brand_id}'"
        elif not column.nullable:
            given[column.name] = _default(column, sql, table.name)
    if sql is _POSTGRESQL:
        times = {column.name for column in table.columns if isinstance(column.type, UtcTime)}
        given = {name: f"({value})::timestamptz" if name in times else value for name, value in given.items()}
    names = ", ".join(given)
    # What is there already (one user who logs in, say) stays.
    return (
        f"INSERT INTO {table.name} ({names}) SELECT {', '.join(given.values())} "
        f"FROM {sql.series.format(rows=rows)} WHERE true ON CONFLICT DO NOTHING"
    )


def _inserts(sql: _Sql, users: int, brand_id: str, at: str) -> list[str]:
    values = _values(sql, users)
    texts = [
        _insert(metadata.tables[name], rows, sql, values.get(name, {}), brand_id) for name, rows in sizes(users).items()
    ]
    return [text.replace(TIME, at) for text in texts]


_SQLITE_INDEXES = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
_POSTGRESQL_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""


async def fill(url: str, users: int, brand_id: str = BRAND, at: str = TIME) -> None:
    """Insert ``users`` users of one brand, created at ``at``, without statistics.

    Foreign keys are not checked, since the rows match by their numbers. Indexes are built afterwards.
    """
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "foreign_keys = OFF", "cache_size = -400000"):
            connection.execute(f"PRAGMA {pragma}")
        indexes = connection.execute(_SQLITE_INDEXES).fetchall()
        connection.execute("BEGIN")
        for text in _around(indexes, _inserts(_SQLITE, users, brand_id, at)):
            connection.execute(text)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        return
    postgresql = await asyncpg.connect(url)
    try:
        await postgresql.execute("SET session_replication_role = replica; SET maintenance_work_mem = '256MB'")
        indexes = [tuple(row) for row in await postgresql.fetch(_POSTGRESQL_INDEXES)]
        for text in _around(indexes, _inserts(_POSTGRESQL, users, brand_id, at)):
            await postgresql.execute(text)
    finally:
        await postgresql.close()


def _around(indexes: list[tuple[str, str]], inserts: list[str]) -> list[str]:
    return [*(f"DROP INDEX {name}" for name, _ in indexes), *inserts, *(text for _, text in indexes)]
