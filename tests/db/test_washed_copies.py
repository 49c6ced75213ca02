"""What the tests stand on: a database that was used before is like one that never was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from keystead.brands import service as brands
from keystead.brands import store
from tests.databases import PostgresTemplate, SharedDatabase
from tests.event_loop import end_later_tasks

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


@pytest.fixture(params=["sqlite", "postgres"])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[SharedDatabase]:
    """A shared database of the test's own."""
    made = SharedDatabase(request.getfixturevalue(f"{request.param}_template"))
    await made.open()
    yield made
    await made.close()


@pytest.mark.parametrize("text", ["DELETE FROM brands", "CREATE TABLE added (id text)"])
async def test_a_shared_database_is_emptied_while_it_is_open(shared: SharedDatabase, text: str) -> None:
    url, database = shared.url, await shared.open()
    async with database.transaction() as tx:
        await tx.execute_ddl(text)
        await brands.ensure_reserved(tx, datetime.now(UTC))
    await shared.wash()
    assert (shared.url, await shared.open()) == (url, database)
    async with database.transaction() as tx:
        await tx.execute_ddl("CREATE TABLE added (id text)")
        assert await store.count_brands(tx) == 0
    await shared.wash()


async def test_a_shared_database_that_was_closed_or_altered_is_replaced(shared: SharedDatabase) -> None:
    url = shared.url
    await (await shared.open()).close()
    await shared.wash()
    assert shared.url != url


async def test_tasks_that_a_test_leaves_are_cancelled() -> None:
    earlier = asyncio.all_tasks()
    left = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    await end_later_tasks(earlier)
    assert left.cancelled()
