"""SQLite: short reads on the event loop, one writer thread, reader threads for scans."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Literal, TypeVar

from sqlalchemy.sql.ddl import ExecutableDDLElement

from keystead import errors
from keystead.aio import finish
from keystead.db.interface import OutcomeUnknown, ReadOnly, Row, Tx, Unusable, run_with_retries
from keystead.db.sqlite_errors import LOCKED, is_busy, is_undone_at_commit, translate
from keystead.db.sqlite_file import OpenFiles, make_private
from keystead.db.sqlite_threads import BUSY_TIMEOUT, Worker, connect
from keystead.db.statements import Compiled, Statement, ddl_text

T = TypeVar("T")

READER_THREADS = 2
QUEUE_TIMEOUT = 10.0
"""Seconds that a transaction waits for the writer."""


def _find(compiled: Compiled, values: list[Any], connection: sqlite3.Connection) -> Row | None:
    row = connection.execute(compiled.text, values).fetchone()
    return compiled.decode(row) if row else None


def _list(compiled: Compiled, values: list[Any], connection: sqlite3.Connection) -> list[Row]:
    rows = connection.execute(compiled.text, values).fetchall()
    return rows if compiled.results is None else [compiled.decode(row) for row in rows]


def _first(compiled: Compiled, values: list[Any], connection: sqlite3.Connection) -> Row | None:
    # All rows are fetched: a RETURNING statement that is not read to its end blocks COMMIT.
    rows = connection.execute(compiled.text, values).fetchall()
    return compiled.decode(rows[0]) if rows else None


def _execute(compiled: Compiled, values: list[Any], connection: sqlite3.Connection) -> int:
    return connection.execute(compiled.text, values).rowcount


def _execute_text(text: str, connection: sqlite3.Connection) -> None:
    connection.execute(text)


def _commit(files: OpenFiles, connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        try:
            files.require()
            connection.execute("COMMIT")
        except (sqlite3.Error, Unusable) as error:
            _rollback(connection)
            files.note(error)
            if isinstance(error, Unusable) or is_undone_at_commit(error):
                raise
            raise OutcomeUnknown(cause=f"at COMMIT: {error}") from None


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


class _Scans:
    """Reads on the reader threads."""

    def __init__(self, readers: Worker) -> None:
        self._readers = readers

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        compiled = _reading(statement)
        return await self._readers.run(partial(_find, compiled, compiled.bind(params)))

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        compiled = _reading(statement)
        return await self._readers.run(partial(_list, compiled, compiled.bind(params)))

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        raise TypeError("a change needs a transaction")

    async def execute_ddl(self, element: ExecutableDDLElement | str, /) -> None:
        raise TypeError("a change needs a transaction")


class _Reads(_Scans):
    """Reads on the event loop: a few microseconds each, a tenth of what a thread switch costs."""

    def __init__(self, connection: sqlite3.Connection, readers: Worker, files: OpenFiles) -> None:
        super().__init__(readers)
        self._connection = connection
        self._files = files

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        compiled = statement.for_sqlite
        if compiled is None or compiled.writes:
            compiled = _reading(statement)
        values = compiled.bind(params)
        try:
            row: Row | None = self._connection.execute(compiled.text, values).fetchone()
        except Exception as error:
            return await self._on_reader_thread(error, partial(_find, compiled, values))
        return compiled.decode(row) if row else None

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        compiled = _reading(statement)
        values = compiled.bind(params)
        try:
            return _list(compiled, values, self._connection)
        except Exception as error:
            return await self._on_reader_thread(error, partial(_list, compiled, values))

    async def _on_reader_thread(self, error: Exception, job: Callable[[sqlite3.Connection], T]) -> T:
        """Wait for a busy database on a reader thread, never on the loop."""
        if isinstance(error, sqlite3.Error) and is_busy(error):
            return await self._readers.run(job)
        self._files.note(error)
        raise translate(error) from None


def _reading(statement: Statement) -> Compiled:
    compiled = statement.compiled("sqlite")
    if compiled.writes:
        raise TypeError("a change needs a transaction")
    return compiled


class _Transaction:
    """Statements of one transaction on the writer thread. BEGIN is sent with the first of them."""

    def __init__(self, writer: Worker) -> None:
        self._writer = writer
        self._begun = False
        self.has_failed = False

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        compiled = statement.compiled("sqlite")
        return await self._run(partial(_first, compiled, compiled.bind(params)))

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        compiled = statement.compiled("sqlite")
        return await self._run(partial(_list, compiled, compiled.bind(params)))

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        compiled = statement.compiled("sqlite")
        return await self._run(partial(_execute, compiled, compiled.bind(params)))

    async def execute_ddl(self, element: ExecutableDDLElement | str, /) -> None:
        await self._run(partial(_execute_text, ddl_text(element, "sqlite")))

    async def _run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self.has_failed:
            raise errors.InternalError(cause="a statement after one that failed in the same transaction")
        try:
            return await self._writer.run(partial(self._step, job))
        except BaseException:
            self.has_failed = True
            raise

    def _step(self, job: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
        if not self._begun:
            _rollback(connection)  # a failed ROLLBACK may have left a transaction open
            connection.execute("BEGIN IMMEDIATE")
            self._begun = True
        elif not connection.in_transaction:
            # SQLite rolls back by itself on some failures: continuing would commit half a transaction.
            raise sqlite3.OperationalError("the transaction is gone")
        return job(connection)


class SqliteDatabase:
    """A SQLite file in WAL mode."""

    dialect: Literal["sqlite"] = "sqlite"

    def __init__(self, path: str, *, may_create: bool = True) -> None:
        self.path = path
        self._may_create = may_create
        self._lock = asyncio.Lock()
        self._connection: sqlite3.Connection
        self._writer: Worker
        self._readers: Worker
        self._reads: _Reads
        self._scans: _Scans
        self._files: OpenFiles
        self._is_open = False

    @property
    def reads(self) -> Tx:
        """Short indexed reads, on the event loop itself."""
        if self._files.is_lost:
            raise Unusable(cause=f"{self.path} is not the open database")
        return self._reads

    @property
    def scans(self) -> Tx:
        """Reads of many rows, on the reader threads."""
        if self._files.is_lost:
            raise Unusable(cause=f"{self.path} is not the open database")
        return self._scans

    async def open(self) -> None:
        """Open the file; create it with mode 0600 if it does not exist.

        :raises StartupError: with the path.
        """
        try:
            if self._may_create:
                make_private(self.path)
            connect(self.path, timeout=BUSY_TIMEOUT, query_only=False).close()
            self._connection = connect(self.path, timeout=BUSY_TIMEOUT, query_only=True)
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            self._connection.execute("PRAGMA busy_timeout=0")  # the event loop never waits for a lock
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else LOCKED if is_busy(error) else str(error)
            raise errors.StartupError(f"Cannot open the SQLite database {self.path}: {reason}") from None
        files = self._files = OpenFiles(self.path)
        files.watch()
        self._writer = Worker("keystead-writer", self.path, files, threads=1, query_only=False)
        self._readers = Worker("keystead-reader", self.path, files, threads=READER_THREADS, query_only=True)
        self._scans = _Scans(self._readers)
        self._reads = _Reads(self._connection, self._readers, files)
        self._is_open = True

    async def close(self) -> None:
        """End the threads and close the connections; the last one checkpoints the log."""
        async with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            self._files.close()
            self._readers.close()
            self._writer.close()
            self._connection.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """One at a time in this process; BEGIN IMMEDIATE waits up to five seconds for other processes."""
        await self._acquire_writer()
        try:
            tx = _Transaction(self._writer)
            try:
                yield tx
                if tx.has_failed:
                    raise errors.InternalError(cause="the end of a transaction in which a statement failed")
            except BaseException:
                await finish(self._writer.submit(_rollback))
                raise
            await finish(self._writer.submit(partial(_commit, self._files)))
        finally:
            self._lock.release()

    async def run(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """As PostgreSQL's; SQLite itself never rolls back for another transaction."""
        return await run_with_retries(self, work)

    async def now(self) -> datetime:
        """SQLite's clock, in milliseconds."""
        row = self._connection.execute("SELECT strftime('%Y-%m-%dT%H:%M:%fZ')").fetchone()
        return datetime.fromisoformat(row[0])

    async def ping(self) -> None:
        """Check that the open file is the one at its path, undamaged, and writable."""
        self._files.require()
        self._files.require_whole()
        try:
            self._connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.Error as error:
            self._files.note(error)
            raise translate(error) from None
        if not os.access(self.path, os.W_OK):
            raise ReadOnly(cause=f"{self.path} cannot be written to")

    async def _acquire_writer(self) -> None:
        if not self._lock.locked():
            await self._lock.acquire()
            return
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT):
                await self._lock.acquire()
        except TimeoutError:
            raise errors.ServiceUnavailable(cause="timeout waiting for the writer") from None
