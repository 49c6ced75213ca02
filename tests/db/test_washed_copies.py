"""What the tests stand on: a database that was used before is like one that never was."""

from __future__ import annotations

import asyncpg
import pytest

from tests.databases import PostgresTemplate

ROWS = "INSERT INTO mail_recipients SELECT 'b', n::text::bytea, now() FROM generate_series(1, {}) n"
TABLE = "CREATE TABLE added (id text PRIMARY KEY, brand_id text REFERENCES brands (id)); INSERT INTO added VALUES ('a')"
EMPTY = "SELECT NOT EXISTS (SELECT FROM mail_recipients) AND to_regclass('added') IS NULL"


async def act(url: str, text: str) -> None:
    """Runs ``text`` in the database, without checking what refers to what."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"SET session_replication_role = replica; {text}")
    await connection.close()


@pytest.mark.parametrize("text", [ROWS.format(100), TABLE])
async def test_changes_are_washed(postgres_template: PostgresTemplate, text: str) -> None:
    url = postgres_template.copy(is_unused=True)
    await act(url, text)
    postgres_template.drop(url)
    assert postgres_template.copy() == url
    again = await asyncpg.connect(url)
    assert await again.fetchval(EMPTY) is True
    await again.close()
    postgres_template.drop(url)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX added ON users (created_at)", "ALTER TABLE users ADD COLUMN added text",
        "ALTER TABLE users ALTER COLUMN created_at DROP NOT NULL", "DROP TABLE api_key_secrets",
        "TRUNCATE users CASCADE", "ANALYZE", "UPDATE alembic_version SET version_num = version_num",
        "DELETE FROM alembic_version", "CREATE FUNCTION added() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ROWS.format(10_000),
    ],
)  # fmt: skip
async def test_other_changes_drop_the_copy(postgres_template: PostgresTemplate, text: str) -> None:
    url = postgres_template.copy()
    await act(url, text)
    postgres_template.drop(url)
    other = postgres_template.copy()
    assert other != url
    postgres_template.drop(other)


async def test_connections_are_terminated(postgres_template: PostgresTemplate) -> None:
    url = postgres_template.copy()
    left = await asyncpg.connect(url)
    postgres_template.drop(url)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await left.fetch("SELECT 1")
    left.terminate()
