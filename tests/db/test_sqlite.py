"""SQLite's own: the file, locks of other processes, a full disk, a COMMIT under cancellation."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from keystead import errors
from keystead.db import sqlite
from keystead.db.interface import OutcomeUnknown, ReadOnly
from keystead.db.migrate import upgrade
from keystead.db.sqlite import READER_THREADS, SqliteDatabase
from keystead.db.sqlite_threads import connect
from keystead.db.statements import Statement
from tests.db.things import NUMBER, add, names, opened


async def test_file_modes_and_settings_that_keep_data_safe(file: SqliteDatabase) -> None:
    for path in (file.path, f"{file.path}-wal"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    connection = connect(file.path, timeout=0, query_only=False)
    for pragma, value in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}.items():
        assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)
    connection.close()


@pytest.mark.parametrize("path", ["missing/keystead.db", ".", "letter.db"])
async def test_a_path_that_cannot_be_opened_is_one_clear_line(tmp_path: Path, path: str) -> None:
    (tmp_path / "letter.db").write_text("Dear Sir or Madam, " * 100)
    target = str(tmp_path / path)
    for opening in (SqliteDatabase(target).open(), upgrade(f"sqlite:///{target}")):
        with pytest.raises(errors.StartupError, match="not a database" if path == "letter.db" else None) as refused:
            await opening
        assert target in refused.value.message
        assert "\n" not in refused.value.message


async def test_a_full_disk_writes_nothing(file: SqliteDatabase) -> None:
    async with file.transaction() as tx:
        await tx.execute_ddl("PRAGMA max_page_count = 1")  # never below what the file has already
    with pytest.raises(errors.StorageFull):
        async with file.transaction() as tx:
            await add(tx, "a", "x" * 1_000_000)
    assert await names(file.reads) == []


async def test_writers_wait_for_another_process(file: SqliteDatabase) -> None:
    other = sqlite3.connect(file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write() -> None:
        async with file.transaction() as tx:
            await add(tx)

    task = asyncio.create_task(write())
    await file.ping()
    assert not task.done()
    other.execute("ROLLBACK")
    await task
    other.close()
    assert await names(file.reads) == ["thing a"]


async def test_waiting_for_a_lock_times_out(file: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process's writer, and of another process."""
    monkeypatch.setattr("keystead.db.sqlite.QUEUE_TIMEOUT", 0.01)
    async with file.transaction():
        with pytest.raises(errors.ServiceUnavailable):
            async with file.transaction():
                pass
    monkeypatch.setattr("keystead.db.sqlite_threads.BUSY_TIMEOUT", 0.05)
    async with opened(SqliteDatabase(f"{file.path}-other")) as database:
        with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(errors.ServiceUnavailable):
                async with database.transaction() as tx:
                    await tx.execute_ddl("CREATE TABLE x (y)")


async def test_a_busy_read_is_retried_on_a_reader_thread(file: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy:
        def execute(self, text: str, values: object) -> object:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
            raise error

    async with file.transaction() as tx:
        await add(tx)
    monkeypatch.setattr(file.reads, "_connection", Busy())
    assert await names(file.reads) == ["thing a"]
    assert await file.reads.find(NUMBER, id="a", brand_id="another") is None


async def test_a_commit_finishes_despite_cancellation(file: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, sent, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    commit = sqlite._commit

    def slow_commit(*arguments: Any) -> None:
        loop.call_soon_threadsafe(sent.set)
        go_on.wait(10)
        commit(*arguments)

    monkeypatch.setattr("keystead.db.sqlite._commit", slow_commit)

    async def write() -> None:
        async with file.transaction() as tx:
            await add(tx)

    task = asyncio.create_task(write())
    await sent.wait()
    task.cancel()
    await file.ping()
    assert not task.done(), "it is not known yet whether it was written"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(file.reads) == ["thing a"]


async def test_a_failed_commit_rolls_back(file: SqliteDatabase) -> None:
    async with file.transaction() as tx:
        await tx.execute_ddl("CREATE TABLE p (id TEXT REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(errors.InternalError):
        async with file.transaction() as tx:
            await add(tx)
            await tx.execute_ddl("INSERT INTO p VALUES ('nothing')")
    assert await names(file.reads) == []
    async with file.transaction() as tx:
        await add(tx)


class _FailingCommit:
    """A connection whose COMMIT fails as SQLite's does."""

    def __init__(self, connection: sqlite3.Connection, code: int) -> None:
        self._connection = connection
        self._code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, text: str, *values: Any) -> Any:
        if text == "COMMIT":
            error = sqlite3.OperationalError("as SQLite says it")
            error.sqlite_errorcode = self._code
            raise error
        return self._connection.execute(text, *values)


@pytest.mark.parametrize(
    ("code", "is_unknown"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, True), (sqlite3.SQLITE_IOERR_WRITE, True), (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_NOTADB, True), (sqlite3.SQLITE_BUSY, False), (sqlite3.SQLITE_FULL, False),
    ],
)  # fmt: skip
async def test_a_failed_commit_reports_whether_its_outcome_is_known(
    file: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, code: int, is_unknown: bool
) -> None:
    submit = file._writer.submit
    monkeypatch.setattr(file._writer, "submit", lambda job: submit(lambda own: job(_FailingCommit(own, code))))
    with pytest.raises(errors.Overload) as raised:
        async with file.transaction() as tx:
            await add(tx)
    assert isinstance(raised.value, OutcomeUnknown) is is_unknown
    assert raised.value.extensions == ({"outcome": "unknown"} if is_unknown else {})
    monkeypatch.undo()
    async with file.transaction() as tx:
        await add(tx, "b")


async def test_a_file_that_cannot_be_written_to_is_not_ready(
    file: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await file.ping()
    # Root may write to any file, so the system's answer is made up here.
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (file.path, os.W_OK))
    with pytest.raises(ReadOnly):
        await file.ping()


async def test_a_cancelled_read_is_interrupted(file: SqliteDatabase) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    statement = Statement(text(endless), unbranded="reads no table")
    reads = [asyncio.ensure_future(file.scans.list(statement)) for _ in range(READER_THREADS)]
    await asyncio.wait(reads, timeout=0.05)
    for read in reads:
        read.cancel()
    async with asyncio.timeout(10):
        assert await names(file.scans) == []
    assert all(read.cancelled() for read in reads)
