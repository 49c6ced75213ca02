"""A database that records its statements, so that a test can assert that there were none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.sql.ddl import ExecutableDDLElement

from keystead.db.interface import Database, Dialect, Row, Tx, run_with_retries
from keystead.db.statements import Statement
from keystead.installation.store import KEYRING_VERSION

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """One statement: its text, and the values that were bound to it."""

    text: str
    values: dict[str, Any]


class WatchedDatabase:
    """An open database that records every statement in ``asked``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked: list[Asked] = []

    def forget(self) -> None:
        """Clear the record."""
        self.asked.clear()

    @property
    def asked_besides_the_keyring(self) -> list[Asked]:
        """Without the reads of the keyring's version, which a token with an unknown ``kid`` causes once a second."""
        return [asked for asked in self.asked if asked.values != {"named": KEYRING_VERSION}]

    @property
    def dialect(self) -> Dialect:
        return self._database.dialect

    @property
    def reads(self) -> Tx:
        return _WatchedTx(self._database.reads, self)

    @property
    def scans(self) -> Tx:
        return _WatchedTx(self._database.scans, self)

    def transaction(self) -> AbstractAsyncContextManager[Tx]:
        return self._watch_transaction()

    @asynccontextmanager
    async def _watch_transaction(self) -> AsyncIterator[Tx]:
        async with self._database.transaction() as tx:
            yield _WatchedTx(tx, self)

    async def run(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        return await run_with_retries(self, work)

    async def open(self) -> None:
        await self._database.open()

    async def close(self) -> None:
        await self._database.close()

    async def now(self) -> datetime:
        return await self._database.now()

    async def ping(self) -> None:
        await self._database.ping()


class _WatchedTx:
    def __init__(self, tx: Tx, watch: WatchedDatabase) -> None:
        self._tx = tx
        self._watch = watch

    def _note(self, statement: Statement, values: dict[str, Any]) -> None:
        self._watch.asked.append(Asked(statement.compiled(self._watch.dialect).text, values))

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        self._note(statement, params)
        return await self._tx.find(statement, **params)

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        self._note(statement, params)
        return await self._tx.list(statement, **params)

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        self._note(statement, params)
        return await self._tx.execute(statement, **params)

    async def execute_ddl(self, element: ExecutableDDLElement | str, /) -> None:
        self._watch.asked.append(Asked(str(element), {}))
        await self._tx.execute_ddl(element)
