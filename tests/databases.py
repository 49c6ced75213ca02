"""Migrated databases for the tests: one template for each kind, copied for each test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg

import keystead
from keystead.db import migrate

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
    """A migrated database, copied by the server."""

    def __init__(self, server: str, name: str) -> None:
        self._server = server
        self._name = f"{name}_template"
        self._prefix = name
        run(self._execute(f"DROP DATABASE IF EXISTS {self._name}", f"CREATE DATABASE {self._name}"))
        run(migrate.upgrade(f"{server}/{self._name}"))

    def copy(self) -> str:
        """The URL of a fresh copy."""
        name = f"{self._prefix}_{next(_NUMBERS)}"
        copying = f"CREATE DATABASE {name} TEMPLATE {self._name} STRATEGY FILE_COPY"
        run(self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", copying))
        return f"{self._server}/{name}"

    def drop(self, url: str) -> None:
        """Removes a copy, and throws out whoever is still connected."""
        run(self._execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)"))

    async def _execute(self, *texts: str) -> None:
        connection = await asyncpg.connect(f"{self._server}/postgres")
        try:
            for text in texts:
                await connection.execute(text)
        finally:
            await connection.close()
