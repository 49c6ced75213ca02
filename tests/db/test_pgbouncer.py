"""PostgreSQL behind a real PgBouncer in transaction mode: each transaction may run in another session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import asyncpg
import pytest

from keystead.db.interface import ConnectionLost, Tx
from keystead.db.migrate import is_current, upgrade
from keystead.db.postgres import PostgresDatabase
from tests.cli.command import MASTER_KEY, run_alone
from tests.db.things import BRAND, COUNT_UP, NUMBER, SETTING, add, created, kill_others, names, opened, postgres
from tests.pgbouncer import pooled

OURS = "extra_float_digits,timezone,jit,statement_timeout,lock_timeout,idle_in_transaction_session_timeout"
LIMITS = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "TimeZone": "UTC",
    "jit": "off",
}


@pytest.fixture
def through(url: str) -> Iterator[str]:
    """The same, through a PgBouncer that refuses parameters which it does not know."""
    with pooled(url) as through:
        yield through


@pytest.fixture
async def database(through: str) -> AsyncIterator[PostgresDatabase]:
    """The same, opened, with the table ``things``."""
    async with opened(postgres(through)) as database:
        yield database


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


@pytest.mark.parametrize(
    ("mode", "ignored"), [*product(("transaction", "session"), ("extra_float_digits", OURS)), (None, "announced")]
)
async def test_a_pooler_is_detected_or_announced(url: str, mode: str | None, ignored: str) -> None:
    with pooled(url, mode=mode, ignored=ignored) if mode else nullcontext(f"{url}?statement_cache=off") as through:
        database = postgres(through)
        assert database._connector.is_pooled is (mode is None)
        await database.open()
        assert database._connector.is_pooled
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


async def test_migrations_through_a_pooler(postgres_url: str) -> None:
    async with created(postgres_url, "keystead_test_through_pgbouncer") as url:
        with pooled(url) as through:
            await asyncio.gather(upgrade(through), upgrade(through))
            database = postgres(through)
            await database.open()
            assert await is_current(database)
            await database.close()


def test_commands_log_nothing_about_a_pooler(through: str, tmp_path: Path) -> None:
    said = run_alone(tmp_path, "migrate", "--json", KEYSTEAD_DATABASE_URL=through, KEYSTEAD_MASTER_KEY=MASTER_KEY)
    assert said.document["from"] == said.document["to"]
    assert said.err == ""


async def test_new_connections_after_a_restart_of_the_pooler(url: str) -> None:
    with pooled(url) as through:
        database = postgres(through)
        await database.open()
        assert await database.reads.find(SETTING, name="jit") == ("off",)
        await kill_others(url)
        for _ in range(5):
            assert await database.run(lambda tx: tx.find(SETTING, name="jit")) == ("off",)
            assert await database.reads.find(SETTING, name="jit") == ("off",)
        await database.close()
