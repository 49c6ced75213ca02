"""Migrated databases for the tests: one template for each kind, copied for each test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import asyncpg

import keystead
from keystead.db import migrate
from tests.washing import Contents, contents, wash

T = TypeVar("T")
_NUMBERS = count(1)


def import_stores() -> None:
    """Puts every fixed table on the metadata."""
    source = Path(keystead.__file__).parent
    for store in sorted(source.rglob("store.py")):
        import_module(".".join(("keystead", *store.relative_to(source).with_suffix("").parts)))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs ``work`` from synchronous code, beside whatever loop is running."""
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


class SqliteTemplate:
    """A migrated file, copied."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "template.db"
        run(migrate.upgrade(f"sqlite:///{self._file}"))

    def copy(self, folder: Path) -> str:
        """The URL of a fresh copy in ``folder``."""
        target = folder / f"keystead-{next(_NUMBERS)}.db"
        shutil.copy(self._file, target)
        return f"sqlite:///{target}"


class PostgresTemplate:
    """A migrated database, copied by the server; a copy that was given back is washed and used again."""

    def __init__(self, server: str, name: str) -> None:
        self._server = server
        self._name = f"{name}_template"
        self._prefix = name
        # Connections live longer than a test and its event loop do.
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()
        self._connections: dict[str, asyncpg.Connection] = {}
        self._spares: list[str] = []
        self._wait(self._execute(f"DROP DATABASE IF EXISTS {self._name}", f"CREATE DATABASE {self._name}"))
        run(migrate.upgrade(f"{server}/{self._name}"))
        self._contents = self._wait(self._look())

    def copy(self, *, is_unused: bool = False) -> str:
        """The URL of a database that is as fresh as a copy; with ``is_unused``, of one that no test has grown."""
        if self._spares and not is_unused:
            return self._spares.pop()
        name = f"{self._prefix}_{next(_NUMBERS)}"
        copying = f"CREATE DATABASE {name} TEMPLATE {self._name} STRATEGY FILE_COPY"
        self._wait(self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", copying))
        return f"{self._server}/{name}"

    def drop(self, url: str) -> None:
        """Takes a copy back, and throws out whoever is still connected."""
        if self._wait(self._wash(url)):
            self._spares.append(url)
        else:
            self._wait(self._remove(url))

    def __enter__(self) -> PostgresTemplate:
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the copies that wait to be used again."""
        while self._spares:
            self._wait(self._remove(self._spares.pop()))
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _look(self) -> Contents:
        connection = await asyncpg.connect(f"{self._server}/{self._name}")
        try:
            return await contents(connection)
        finally:
            await connection.close()

    async def _wash(self, url: str) -> bool:
        try:
            connection = self._connections.get(url) or await asyncpg.connect(url)
            self._connections[url] = connection
            return await wash(connection, self._contents)
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
