"""Threads that own SQLite connections, and what SQLite's errors mean."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from keystead import errors
from keystead.db.engine import ForeignKeyViolation, SchemaChanged, UniqueViolation

T = TypeVar("T")
Job: TypeAlias = Callable[[sqlite3.Connection], T]

BUSY_TIMEOUT = 5.0
CACHED_STATEMENTS = 512

_UNIQUE = re.compile(r"UNIQUE constraint failed: (.+)")
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
}

_UNDONE_AT_COMMIT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT}


def make_private(path: str) -> None:
    """Makes the file where there is none. It holds password hashes: nobody else may read it or its log."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def connect(path: str, *, timeout: float, query_only: bool) -> sqlite3.Connection:
    """A connection in autocommit mode; ``timeout`` in seconds is how long it waits for a lock."""
    connection = sqlite3.connect(
        path,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"write-ahead log not possible here (journal mode {mode})")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    if query_only:
        connection.execute("PRAGMA query_only=ON")
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Another connection holds the lock."""
    return _primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_undone_at_commit(error: sqlite3.Error) -> bool:
    """Whether a COMMIT that failed with this wrote nothing for certain.

    After a failed write or sync the log may hold the transaction whole, and the next process would recover it.
    """
    return _primary_code(error) in _UNDONE_AT_COMMIT


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def translate(error: BaseException) -> BaseException:
    """What an error of the driver means to us. SQLite's texts name tables and columns, never values."""
    if isinstance(error, sqlite3.IntegrityError):
        return _broken_rule(error)
    if isinstance(error, UnicodeEncodeError):
        return errors.BadUserInput("Text holds a character that cannot be stored.")
    if isinstance(error, OverflowError):
        return errors.InternalError(cause="an integer does not fit SQLite's 64 bits")
    if not isinstance(error, sqlite3.Error):
        return error
    text, code = str(error), _primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return errors.StorageFull(cause=text)
    if code in _UNAVAILABLE or "closed database" in text:
        return errors.ServiceUnavailable(cause=text)
    if "no such table" in text or "no such column" in text or "has no column" in text:
        return SchemaChanged(cause=text)
    return errors.InternalError(cause=f"{type(error).__name__}: {text}")


def _broken_rule(error: sqlite3.IntegrityError) -> Exception:
    text = str(error)
    if "FOREIGN KEY" in text:
        return ForeignKeyViolation()
    found = _UNIQUE.match(text)
    if found is None:
        return errors.InternalError(cause=text)
    if found[1].startswith("index "):
        return UniqueViolation("", (), found[1].removeprefix("index ").strip("'"))
    pairs = [name.split(".", 1) for name in found[1].split(", ")]
    return UniqueViolation(pairs[0][0], tuple(column for _, column in pairs))


class Worker:
    """Threads that take jobs from one queue, each with a connection of its own."""

    def __init__(self, name: str, path: str, *, threads: int, query_only: bool) -> None:
        self._path = path
        self._query_only = query_only
        self._is_closed = False
        self._jobs: SimpleQueue[tuple[Job[Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._threads = [Thread(target=self._serve, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job[T]) -> asyncio.Future[T]:
        """Runs ``job`` on one of the threads, in order of arrival where there is one thread."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._is_closed:
            # Nobody would ever answer, and whoever must not leave a transaction half known would wait for ever.
            future.set_exception(errors.ServiceUnavailable(cause="the database is closed"))
        else:
            self._jobs.put((job, future))
        return future

    async def run(self, job: Job[T]) -> T:
        """The job's result, or what its error means."""
        return await self.submit(job)

    def close(self) -> None:
        """Ends the threads after the jobs that are already queued; later ones fail."""
        self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        connection: sqlite3.Connection | None = None
        while (entry := self._jobs.get()) is not None:
            job, future = entry
            try:
                if connection is None:
                    connection = connect(self._path, timeout=BUSY_TIMEOUT, query_only=self._query_only)
                result: Any = job(connection)
            except BaseException as error:
                _answer(future, _fail, future, translate(error))
            else:
                _answer(future, _resolve, future, result)
            del entry, job, future
        if connection is not None:
            connection.close()


def _answer(future: asyncio.Future[Any], how: Callable[..., None], *arguments: Any) -> None:
    with suppress(RuntimeError):  # the loop is gone, and with it whoever asked
        future.get_loop().call_soon_threadsafe(how, *arguments)


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
