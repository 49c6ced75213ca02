"""A database that goes away in the middle of things, and comes back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from keystead.db.engine import Database, open_database
from keystead.db.sqlite import SqliteDatabase

Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class FailingDatabase:
    """An open database, and the switch that takes it away."""

    database: Database
    fail: Step
    recover: Step


@asynccontextmanager
async def failing(url: str) -> AsyncIterator[FailingDatabase]:
    """PostgreSQL: behind a relay that is cut. SQLite: on a disk that gives errors."""
    async with _behind_a_relay(url) if url.startswith("postgresql") else _on_a_bad_disk(url) as database:
        yield database


class _BadDisk:
    """In place of a connection: each statement fails as SQLite's do, with more in its text than SQLite writes."""

    in_transaction = False

    def execute(self, text: str, values: Any = ()) -> Any:
        error = sqlite3.OperationalError(f"disk I/O error: /var/lib/keystead/keystead.db: {text}: {values}")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error


@asynccontextmanager
async def _on_a_bad_disk(url: str) -> AsyncIterator[FailingDatabase]:
    database = open_database(url)
    assert isinstance(database, SqliteDatabase)
    await database.open()
    reads: Any = database.reads
    good, workers = reads._connection, [database._writer, database._readers]

    def on_a_bad_disk(worker: Any) -> Any:
        run = worker.run
        return lambda job: run(lambda _: job(_BadDisk()))

    async def fail() -> None:
        reads._connection = _BadDisk()
        for worker in workers:
            vars(worker)["run"] = on_a_bad_disk(worker)

    async def recover() -> None:
        reads._connection = good
        for worker in workers:
            vars(worker).pop("run", None)

    try:
        yield FailingDatabase(database, fail, recover)
    finally:
        await recover()
        await database.close()


class _Relay:
    """Passes bytes on between a port of its own and a server, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> None:
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._there)
        both = {writer, there_writer}
        self._open |= both
        with suppress(OSError):
            await asyncio.gather(_pass_on(reader, there_writer), _pass_on(there_reader, writer))
        self._open -= both
        for one in both:
            one.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(65_536):
        writer.write(block)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def _behind_a_relay(url: str) -> AsyncIterator[FailingDatabase]:
    parts = urlsplit(url)
    relay = _Relay(parts.hostname or "127.0.0.1", parts.port or 5432)
    await relay.start()
    user = parts.netloc.rpartition("@")[0]
    database = open_database(urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{relay.port}")))
    await database.open()
    try:
        yield FailingDatabase(database, relay.cut, relay.start)
    finally:
        await database.close()
        await relay.cut()
