"""PostgreSQL's own: lost connections, a full pool, limits on the server, a down server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from secrets import token_urlsafe

import asyncpg
import pytest
from sqlalchemy import bindparam, func, select
from sqlalchemy.schema import CreateTable

from keystead import errors
from keystead.db import postgres_pool
from keystead.db.engine import Contention, SchemaChanged, TooManyColumns, Tx
from keystead.db.migrate import upgrade
from keystead.db.postgres import MAXIMUM_CONNECTIONS, PostgresDatabase
from keystead.db.statements import Statement
from tests.databases import PostgresTemplate
from tests.db.things import ADD, BRAND, COUNT_UP, NUMBER, add, names, things

SETTING = Statement(select(func.current_setting(bindparam("name"))), unbranded="no table at all")
PROCESS = Statement(select(func.pg_backend_pid()), unbranded="no table at all")
SLEEP = Statement(select(func.pg_sleep(bindparam("seconds", required=True))), unbranded="no table at all")


@pytest.fixture
async def server(postgres_template: PostgresTemplate) -> AsyncIterator[PostgresDatabase]:
    """A PostgreSQL database with the table ``things``."""
    url = postgres_template.copy()
    database = PostgresDatabase(url)
    await database.open()
    async with database.transaction() as tx:
        await tx.execute_ddl(CreateTable(things))
    yield database
    await database.close()
    postgres_template.drop(url)


async def _kill_others(database: PostgresDatabase) -> None:
    connection = await asyncpg.connect(database._url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


async def test_limits_are_kept_by_the_server_too(server: PostgresDatabase) -> None:
    limits = {
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "10s",
        "transaction_isolation": "read committed",
        "TimeZone": "UTC",
    }
    for name, value in limits.items():
        assert await server.reads.find(SETTING, name=name) == (value,)


async def test_a_read_outlives_a_lost_connection(server: PostgresDatabase) -> None:
    await asyncio.gather(*(server.ping() for _ in range(5)))
    before = await server.reads.find(PROCESS)
    await _kill_others(server)

    after = await server.reads.find(PROCESS)

    assert after is not None
    assert after != before
    assert await server.reads.list(PROCESS) == [after]


async def test_a_transaction_begins_on_a_living_connection(server: PostgresDatabase) -> None:
    await _kill_others(server)

    async with server.transaction() as tx:
        await add(tx)

    assert await names(server.reads) == ["thing a"]


async def test_a_connection_lost_inside_a_transaction_is_not_retried(server: PostgresDatabase) -> None:
    with pytest.raises(errors.ServiceUnavailable):
        async with server.transaction() as tx:
            await add(tx, "a")
            await _kill_others(server)
            await add(tx, "b")

    assert await names(server.reads) == []


async def test_a_full_pool_is_service_unavailable(server: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_pool, "ACQUIRE_TIMEOUT", 0.05)
    everyone_in, done = asyncio.Barrier(MAXIMUM_CONNECTIONS + 1), asyncio.Event()

    async def hold() -> None:
        async with server.transaction():
            await everyone_in.wait()
            await done.wait()

    holders = [asyncio.create_task(hold()) for _ in range(MAXIMUM_CONNECTIONS)]
    await everyone_in.wait()
    with pytest.raises(errors.ServiceUnavailable):
        await server.reads.find(PROCESS)
    monkeypatch.setattr(postgres_pool, "ACQUIRE_TIMEOUT", 10)
    waiting = asyncio.create_task(server.ping())
    cancelled = asyncio.create_task(server.ping())
    await asyncio.sleep(0)
    cancelled.cancel()
    done.set()
    await asyncio.gather(*holders)
    await waiting

    assert server._pool._size <= MAXIMUM_CONNECTIONS
    assert len(server._pool._idle) == server._pool._size


async def test_places_of_lost_connections_are_given_on(server: PostgresDatabase) -> None:
    async def read_once(number: int) -> None:
        task = asyncio.create_task(server.reads.find(SLEEP, seconds=0.01))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        if number % 2:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(read_once(number) for number in range(60)))

    assert len(server._pool._idle) == server._pool._size <= MAXIMUM_CONNECTIONS
    await server.ping()


async def test_run_repeats_after_a_deadlock(server: PostgresDatabase) -> None:
    async with server.transaction() as tx:
        await add(tx, "a")
        await add(tx, "b")
    both_hold_one = asyncio.Barrier(2)
    tries = 0

    async def cross(first: str, second: str) -> None:
        met = False

        async def work(tx: Tx) -> None:
            nonlocal met, tries
            tries += 1
            await tx.find(COUNT_UP, id=first, brand_id=BRAND)
            if not met:
                met = True
                await both_hold_one.wait()
            await tx.find(COUNT_UP, id=second, brand_id=BRAND)

        await server.run(work)

    await asyncio.gather(cross("a", "b"), cross("b", "a"))

    assert tries == 3
    for key in ("a", "b"):
        assert await server.reads.find(NUMBER, id=key, brand_id=BRAND) == (2,)


async def test_contention_is_service_unavailable_to_a_client() -> None:
    assert issubclass(Contention, errors.ServiceUnavailable)


async def test_nul_is_bad_input(server: PostgresDatabase) -> None:
    with pytest.raises(errors.BadUserInput):
        async with server.transaction() as tx:
            await tx.execute(ADD, id="a", brand_id=BRAND, name="a\0b")
    with pytest.raises(errors.BadUserInput):
        await server.reads.find(NUMBER, id="a\0b", brand_id=BRAND)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://keystead:hush-hush@127.0.0.1:1/keystead",
        "postgresql://keystead:hush-hush@127.0.0.1:port/keystead",
        "postgresql://keystead:hush/hush@127.0.0.1:1/keystead",
    ],
)
async def test_a_server_that_is_down_is_one_clear_line_without_the_password(url: str) -> None:
    for opening in (PostgresDatabase(url).open(), upgrade(url)):
        with pytest.raises(errors.StartupError) as refused:
            await opening
        assert refused.value.message.startswith("Cannot reach PostgreSQL at ")
        assert "hush" not in refused.value.message
        assert "\n" not in refused.value.message


async def test_a_database_that_does_not_exist_is_one_clear_line(postgres_url: str) -> None:
    for opening in (PostgresDatabase(f"{postgres_url}/nowhere").open(), upgrade(f"{postgres_url}/nowhere")):
        with pytest.raises(errors.StartupError, match='database "nowhere" does not exist'):
            await opening


async def test_a_server_that_goes_is_service_unavailable() -> None:
    database = PostgresDatabase("postgresql://keystead@127.0.0.1:1/keystead")

    with pytest.raises(errors.ServiceUnavailable):
        await database.ping()
    with pytest.raises(errors.ServiceUnavailable):
        await database.reads.find(PROCESS)


async def test_a_database_that_is_gone_is_service_unavailable(postgres_url: str) -> None:
    with pytest.raises(errors.ServiceUnavailable):
        await PostgresDatabase(f"{postgres_url}/nowhere").ping()


async def test_a_server_that_only_reads_is_service_unavailable(server: PostgresDatabase) -> None:
    """The standby that a fail-over left us with."""
    with pytest.raises(errors.ServiceUnavailable):
        async with server.transaction() as tx:
            await tx.execute_ddl("SET TRANSACTION READ ONLY")
            await add(tx)


async def test_a_column_of_another_type_is_a_changed_schema(server: PostgresDatabase) -> None:
    async with server.transaction() as tx:
        await tx.execute_ddl("ALTER TABLE things DROP COLUMN number, ADD COLUMN number boolean")
    with pytest.raises(SchemaChanged):
        async with server.transaction() as tx:
            await add(tx)


async def test_a_value_too_long_for_an_index_is_a_changed_schema(server: PostgresDatabase) -> None:
    """A definition that has the index does not let such a value pass."""
    async with server.transaction() as tx:
        await tx.execute_ddl("CREATE INDEX names ON things (name)")
    with pytest.raises(SchemaChanged):
        async with server.transaction() as tx:
            await add(tx, name=token_urlsafe(20_000))


async def test_a_table_has_room_for_so_many_columns(server: PostgresDatabase) -> None:
    columns = ", ".join(f"c{number} integer" for number in range(1601))
    with pytest.raises(TooManyColumns):
        async with server.transaction() as tx:
            await tx.execute_ddl(f"CREATE TABLE wide ({columns})")
