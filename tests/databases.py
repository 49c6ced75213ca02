"""Migrated databases for the tests: one template of each kind, and copies that are emptied between tests."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, TypeVar

import asyncpg

import keystead
from keystead.db import migrate
from keystead.db.factory import open_database
from keystead.db.interface import Database
from tests.washing import Contents, contents, wash, wash_sqlite

T = TypeVar("T")
_NUMBERS = count(1)


def import_stores() -> None:
    """Import every module that defines tables, so that the metadata is complete."""
    source = Path(keystead.__file__).parent
    for store in sorted(source.rglob("*store.py")):
        import_module(".".join(("keystead", *store.relative_to(source).with_suffix("").parts)))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` from synchronous code, in a thread with its own event loop."""
    failures: list[BaseException] = []

    def target() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=target)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


class Template(Protocol):
    """A migrated database of one kind."""

    def copy(self) -> str:
        """The URL of a copy."""
        ...

    def wash(self, url: str) -> bool:
        """Empty a copy that stays open; False when it cannot be shown to be like a new one."""
        ...

    def remove(self, url: str) -> None:
        """Delete a copy."""
        ...


class SqliteTemplate:
    """A migrated file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "template.db"
        run(migrate.upgrade(f"sqlite:///{self._file}"))
        self._connections: dict[str, sqlite3.Connection] = {}

    def copy(self, folder: Path | None = None) -> str:
        """The URL of a new copy in ``folder``."""
        target = (folder or self._folder) / f"keystead-{next(_NUMBERS)}.db"
        shutil.copy(self._file, target)
        return f"sqlite:///{target}"

    def wash(self, url: str) -> bool:
        """Empty a copy that stays open."""
        path = url.removeprefix("sqlite:///")
        try:
            if path not in self._connections:
                self._connections[path] = sqlite3.connect(path, isolation_level=None, timeout=2)
            wash_sqlite(self._connections[path], self._file)
        except sqlite3.Error:
            return False
        return True

    def remove(self, url: str) -> None:
        """Delete a copy and its log."""
        path = url.removeprefix("sqlite:///")
        if path in self._connections:
            self._connections.pop(path).close()
        for suffix in ("", "-wal", "-shm"):
            Path(path + suffix).unlink(missing_ok=True)


class PostgresTemplate:
    """A migrated database, copied by the server; a copy that was returned is emptied and reused."""

    def __init__(self, server: str, name: str) -> None:
        self._server = server
        self._name = f"{name}_template"
        self._prefix = name
        # These connections outlive the tests, and copies are washed while the tests' own loop waits.
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()
        self._connections: dict[str, asyncpg.Connection] = {}
        self._spares: list[str] = []
        self._wait(self._execute(f"DROP DATABASE IF EXISTS {self._name}", f"CREATE DATABASE {self._name}"))
        run(migrate.upgrade(f"{server}/{self._name}"))
        self._contents = self._wait(self._inspect())

    def copy(self, *, is_unused: bool = False) -> str:
        """The URL of a database like a new copy; with ``is_unused``, of one that no test has grown."""
        if self._spares and not is_unused:
            return self._spares.pop()
        name = f"{self._prefix}_{next(_NUMBERS)}"
        copying = f"CREATE DATABASE {name} TEMPLATE {self._name} STRATEGY FILE_COPY"
        self._wait(self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", copying))
        return f"{self._server}/{name}"

    def drop(self, url: str) -> None:
        """Return a copy: terminate its connections and keep it for reuse if it can be emptied."""
        if self._wait(self._wash(url, terminates=True)):
            self._spares.append(url)
        else:
            self.remove(url)

    def wash(self, url: str) -> bool:
        """Empty a copy that stays open."""
        return self._wait(self._wash(url, terminates=False))

    def remove(self, url: str) -> None:
        """Terminate the connections of a copy and delete it."""
        self._wait(self._remove(url))

    def __enter__(self) -> PostgresTemplate:
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the copies kept for reuse."""
        while self._spares:
            self.remove(self._spares.pop())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _inspect(self) -> Contents:
        connection = await asyncpg.connect(f"{self._server}/{self._name}")
        try:
            return await contents(connection)
        finally:
            await connection.close()

    async def _wash(self, url: str, *, terminates: bool) -> bool:
        try:
            connection = self._connections.get(url) or await asyncpg.connect(
                url, server_settings={"lock_timeout": "2s", "plan_cache_mode": "force_generic_plan"}
            )
            self._connections[url] = connection
            return await wash(connection, self._contents, terminates=terminates)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False

    async def _remove(self, url: str) -> None:
        connection = self._connections.pop(url, None)
        if connection is not None:
            await connection.close()
        await self._execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    async def _execute(self, *texts: str) -> None:
        connection = await asyncpg.connect(f"{self._server}/postgres")
        try:
            for text in texts:
                await connection.execute(text)
        finally:
            await connection.close()


class SharedDatabase:
    """One open database for the tests of a process; emptied after each, replaced when that is not enough."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._url: str | None = None
        self._database: Database | None = None
        self._close: Callable[[], Awaitable[None]]
        self._is_closed = False

    @property
    def url(self) -> str:
        """Where the current copy is."""
        if self._url is None:
            self._url = self._template.copy()
        return self._url

    def is_at(self, url: str) -> bool:
        """Whether the current copy has this URL."""
        return self._url == url

    async def open(self) -> Database:
        """The open database."""
        if self._database is None:
            database = open_database(self.url)
            await database.open()
            self._database, self._close = database, database.close
            vars(database)["close"] = self._note_close
        return self._database

    async def wash(self) -> None:
        """Make the next test find the database like a new one."""
        if self._url is None or self._database is None:
            return
        try:
            await self._database.ping()
            is_clean = not self._is_closed and self._template.wash(self._url)
        except Exception:  # the test damaged it
            is_clean = False
        if not is_clean:
            await self.close()

    async def close(self) -> None:
        """Close and delete the current copy."""
        url, database, self._url, self._database = self._url, self._database, None, None
        try:
            if database is not None and not self._is_closed:
                await self._close()
        finally:
            self._is_closed = False
            if url is not None:
                self._template.remove(url)

    async def _note_close(self) -> None:
        self._is_closed = True
        await self._close()
