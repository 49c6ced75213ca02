"""A database that goes away in the middle of things, and comes back."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from keystead.db.factory import open_database
from keystead.db.interface import Database
from keystead.db.sqlite import SqliteDatabase
from tests.relay import relay_to

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


@asynccontextmanager
async def _behind_a_relay(url: str) -> AsyncIterator[FailingDatabase]:
    relay, url_through_it = await relay_to(url)
    database = open_database(url_through_it)
    await database.open()
    try:
        yield FailingDatabase(database, relay.cut, relay.start)
    finally:
        await database.close()
        await relay.cut()
