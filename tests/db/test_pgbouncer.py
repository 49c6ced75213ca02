"""PostgreSQL behind a real PgBouncer in transaction mode: each transaction may run in another session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import bindparam, func, select
from sqlalchemy.schema import CreateTable

from keystead.db.interface import ConnectionLost, Tx
from keystead.db.migrate import is_current, upgrade
from keystead.db.postgres import PostgresDatabase
from keystead.db.statements import Statement
from tests.cli.command import MASTER_KEY, run_alone
from tests.databases import PostgresTemplate
from tests.db.things import BRAND, COUNT_UP, NUMBER, add, names, postgres, things
from tests.pgbouncer import pooled

SETTING = Statement(select(func.current_setting(bindparam("name"))), unbranded="no table at all")
OURS = "extra_float_digits,timezone,jit,statement_timeout,lock_timeout,idle_in_transaction_session_timeout"
LIMITS = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "TimeZone": "UTC",
    "jit": "off",
}


@pytest.fixture
def url(postgres_template: PostgresTemplate) -> Iterator[str]:
    """A migrated database."""
    made = postgres_template.copy()
    yield made
    postgres_template.drop(made)


@pytest.fixture
def through(url: str) -> Iterator[str]:
    """The same, through a PgBouncer that refuses parameters which it does not know."""
    with pooled(url) as through:
        yield through


@pytest.fixture
async def database(through: str) -> AsyncIterator[PostgresDatabase]:
    """The same, opened, with the table ``things``."""
    database = postgres(through)
    await database.open()
    async with database.transaction() as tx:
        await tx.execute_ddl(CreateTable(things))
    yield database
    await database.close()


async def test_many_transactions_share_few_sessions(database: PostgresDatabase) -> None:
    async with database.transaction() as tx:
        await add(tx)

    async def count_up(tx: Tx) -> None:
        await tx.find(COUNT_UP, id="a", brand_id=BRAND)

    async def both() -> None:
        await database.run(count_up)
        assert await names(database.reads) == ["thing a"]
        assert await names(database.scans) == ["thing a"]

    await asyncio.gather(*(both() for _ in range(40)))
    assert await database.reads.find(NUMBER, id="a", brand_id=BRAND) == (40,)
    await database.ping()
    await database.now()


async def test_timeouts_are_set_per_transaction_only(database: PostgresDatabase, through: str) -> None:
    for name, value in LIMITS.items():
        assert await database.reads.find(SETTING, name=name) == (value,)
        async with database.transaction() as tx:
            assert await tx.find(SETTING, name=name) == (value,)
    other = await asyncpg.connect(through, statement_cache_size=0)
    for _ in range(6):
        async with other.transaction():
            assert await other.fetchval("SELECT current_setting('statement_timeout')") == "0"
            assert await other.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0
    await other.close()


@pytest.mark.parametrize("ignored", ["extra_float_digits", OURS])
@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_a_pooler_is_detected(url: str, mode: str, ignored: str) -> None:
    with pooled(url, mode=mode, ignored=ignored) as through:
        database = postgres(through)
        await database.open()
        assert database._connector.is_pooled
        assert await database.reads.find(SETTING, name="statement_timeout") == ("5s",)
        await database.close()


async def test_statement_cache_off_announces_a_pooler(url: str) -> None:
    database = postgres(f"{url}?statement_cache=off")
    assert database._connector.is_pooled
    await database.open()
    assert await database.reads.find(SETTING, name="statement_timeout") == ("5s",)
    await database.close()


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_missing_statements_reveal_a_pooler(url: str, in_transaction: bool) -> None:
    database = postgres(url)
    await database.open()
    assert await database.reads.find(SETTING, name="jit") == ("off",)
    await database._pool._idle[0].execute("DEALLOCATE ALL")
    if in_transaction:
        with pytest.raises(ConnectionLost):
            async with database.transaction() as tx:
                await tx.find(SETTING, name="jit")
    else:
        assert await database.reads.find(SETTING, name="jit") == ("off",)
    assert database._connector.is_pooled
    assert await database.run(lambda tx: tx.find(SETTING, name="jit")) == ("off",)
    await database.close()


async def test_migrations_through_a_pooler(postgres_url: str, postgres_template: PostgresTemplate) -> None:
    name = "keystead_test_through_pgbouncer"
    control = await asyncpg.connect(f"{postgres_url}/postgres")
    await control.execute(f"CREATE DATABASE {name}")
    try:
        with pooled(f"{postgres_url}/{name}") as through:
            await asyncio.gather(upgrade(through), upgrade(through))
            database = postgres(through)
            await database.open()
            assert await is_current(database)
            await database.close()
    finally:
        await control.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await control.close()


def test_commands_log_nothing_about_a_pooler(through: str, tmp_path: Path) -> None:
    said = run_alone(tmp_path, "migrate", "--json", KEYSTEAD_DATABASE_URL=through, KEYSTEAD_MASTER_KEY=MASTER_KEY)
    assert said.document["from"] == said.document["to"]
    assert said.err == ""


async def test_new_connections_after_a_restart_of_the_pooler(url: str) -> None:
    with pooled(url) as through:
        database = postgres(through)
        await database.open()
        assert await database.reads.find(SETTING, name="jit") == ("off",)
        connection = await asyncpg.connect(url)
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()
        for _ in range(5):
            assert await database.run(lambda tx: tx.find(SETTING, name="jit")) == ("off",)
            assert await database.reads.find(SETTING, name="jit") == ("off",)
        await database.close()
