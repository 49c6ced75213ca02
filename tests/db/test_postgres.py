"""PostgreSQL's own: lost connections, a full pool, limits on the server, a down server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest
from sqlalchemy import bindparam, func, select

from keystead import errors
from keystead.db import postgres_pool
from keystead.db.interface import ReadOnly, TooManyColumns, Tx
from keystead.db.migrate import upgrade
from keystead.db.postgres import MAXIMUM_CONNECTIONS, PostgresDatabase
from keystead.db.postgres_connect import transport_of
from keystead.db.postgres_pool import Connection
from keystead.db.statements import Statement
from keystead.web.bootstrap import open_server
from tests.db.things import BRAND, COUNT_UP, NUMBER, SETTING, add, created, dsn, kill_others, names, postgres
from tests.make import SETTINGS

PROCESS = Statement(select(func.pg_backend_pid()), unbranded="no table at all")
SLEEP = Statement(select(func.pg_sleep(bindparam("seconds", required=True))), unbranded="no table at all")


async def test_timeouts_are_set_on_the_server(server: PostgresDatabase) -> None:
    limits = {
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "10s",
        "transaction_isolation": "read committed",
        "TimeZone": "UTC",
    }
    for name, value in limits.items():
        assert await server.reads.find(SETTING, name=name) == (value,)


async def test_reads_and_begin_are_retried_after_a_lost_connection(server: PostgresDatabase) -> None:
    await asyncio.gather(*(server.ping() for _ in range(5)))
    before = await server.reads.find(PROCESS)
    await kill_others(dsn(server))
    after = await server.reads.find(PROCESS)
    assert after not in (None, before)
    assert await server.reads.list(PROCESS) == [after]
    await kill_others(dsn(server))
    async with server.transaction() as tx:
        await add(tx)
    assert await names(server.reads) == ["thing a"]


async def test_a_connection_lost_inside_a_transaction_is_not_retried(server: PostgresDatabase) -> None:
    with pytest.raises(errors.ServiceUnavailable):
        async with server.transaction() as tx:
            await add(tx, "a")
            await kill_others(dsn(server))
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


async def test_slots_of_discarded_connections_are_freed(server: PostgresDatabase) -> None:
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


async def test_run_retries_after_a_deadlock(server: PostgresDatabase) -> None:
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


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("127.0.0.1:1/keystead", "127.0.0.1:1"), ("127.0.0.1:1,[::1]:2/keystead", "127.0.0.1:1, [::1]:2"),
        ("/keystead?host=/nonexistent", "/nonexistent/.s.PGSQL.5432"),
        ("127.0.0.1:1/keystead?host=ignored", "127.0.0.1:1"),
    ],
)  # fmt: skip
async def test_a_server_that_is_down_is_one_clear_line_without_the_password(place: str, named: str) -> None:
    database = postgres(url := f"postgresql://keystead:hush-hush@{place}")
    for opening in (database.open(), upgrade(url)):
        with pytest.raises(errors.StartupError) as refused:
            await opening
        assert refused.value.message.startswith(f"Cannot reach PostgreSQL at {named}: ")
        assert "hush" not in refused.value.message
        assert "\n" not in refused.value.message
    for request in (database.ping(), database.reads.find(PROCESS)):
        with pytest.raises(errors.ServiceUnavailable):
            await request


async def test_a_database_that_does_not_exist_is_one_clear_line(postgres_url: str) -> None:
    for opening in (postgres(f"{postgres_url}/nowhere").open(), upgrade(f"{postgres_url}/nowhere")):
        with pytest.raises(errors.StartupError, match='database "nowhere" does not exist'):
            await opening


@asynccontextmanager
async def _read_only(database: PostgresDatabase) -> AsyncIterator[None]:
    """Every session that begins in this block may only read, as on the standby that a fail-over leaves us with."""
    server_url, _, name = dsn(database).rpartition("/")
    control = await asyncpg.connect(f"{server_url}/postgres")
    await control.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        yield
    finally:
        await control.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await control.close()


async def test_a_read_only_session_is_not_ready_and_discarded(server: PostgresDatabase) -> None:
    settings = replace(SETTINGS, database_url=dsn(server), master_key="a master key of thirty-two characters or more")
    async with open_server(settings):
        pass
    async with _read_only(server):
        await server.ping()  # a session of before
        await kill_others(dsn(server))
        with pytest.raises(ReadOnly):
            await server.ping()
        with pytest.raises(errors.StartupError, match="The database cannot be used: 25006"):
            async with open_server(settings):
                pass
        await asyncio.gather(*(server.now() for _ in range(5)))
        with pytest.raises(ReadOnly):
            async with server.transaction() as tx:
                await add(tx)
        assert server._pool._size == 0
        await asyncio.gather(*(server.now() for _ in range(5)))
    # The sessions are still those of the time when they could only read.
    await server.run(lambda tx: add(tx))
    assert await names(server.reads) == ["thing a"]
    await server.ping()


async def test_nul_in_text_and_too_many_columns_are_bad_input(server: PostgresDatabase) -> None:
    with pytest.raises(errors.BadUserInput):
        await server.run(lambda tx: add(tx, "a", "a\0b"))
    with pytest.raises(TooManyColumns):
        columns = ", ".join(f"c{number} int" for number in range(1601))
        await server.run(lambda tx: tx.execute_ddl(f"CREATE TABLE wide ({columns})"))


async def test_losing_all_connections_is_never_an_internal_error(server: PostgresDatabase) -> None:
    """asyncpg answers with whatever it makes of the server's farewell: InternalClientError, InterfaceError, OSError."""
    for number in range(8):
        await asyncio.gather(*(server.now() for _ in range(4)))
        await kill_others(dsn(server))
        await asyncio.gather(*(server.reads.find(PROCESS) for _ in range(4)))
        await server.run(lambda tx, key=f"k{number}": add(tx, key))  # type: ignore[misc]
    assert len(await names(server.reads)) == 8


async def test_other_encodings_than_utf8_are_rejected(postgres_url: str) -> None:
    async with created(postgres_url, "ascii", "ENCODING 'SQL_ASCII' TEMPLATE template0") as url:
        for opening in (postgres(url).open(), upgrade(url)):
            with pytest.raises(errors.StartupError, match="has the encoding SQL_ASCII, and Keystead needs UTF8"):
                await opening


async def test_parameters_of_the_url_reach_the_server_and_the_socket(url: str) -> None:
    query = "application_name=shop&options=-c%20work_mem%3D7MB&keepalives_idle=31&connect_timeout=7"
    database = postgres(f"{url}?{query}")
    await database.open()
    try:
        assert await database.reads.find(SETTING, name="application_name") == ("shop",)
        assert await database.reads.find(SETTING, name="work_mem") == ("7MB",)
        link = transport_of(database._pool._idle[0]).get_extra_info("socket")
        assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 31
    finally:
        await database.close()


async def test_connecting_is_retried_once(server: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, attempts = server._pool._connect, 0

    async def fail_once() -> Connection:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise asyncpg.AdminShutdownError("terminating connection due to administrator command")
        return await connect()

    await kill_others(dsn(server))
    monkeypatch.setattr(server._pool, "_connect", fail_once)
    await server.ping()
    assert (attempts, server._pool._size) == (2, 1)
