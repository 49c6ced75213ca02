"""A database that records its statements, so that a test can assert that there were none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar, cast

from keystead.context import Server
from keystead.db.interface import Database, Tx, run_with_retries
from keystead.db.statements import Statement
from keystead.installation.store import KEYRING_VERSION

T = TypeVar("T")


class Asked(NamedTuple):
    """One statement: its text, and the values that were bound to it."""

    text: str
    values: dict[str, Any]


class WatchedDatabase:
    """Records each statement in ``asked`` and counts transactions; it is otherwise the given database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked: list[Asked] = []
        self.transactions = 0

    def forget(self) -> None:
        """Clear the record."""
        self.asked.clear()

    @property
    def texts(self) -> list[str]:
        """The statements without their values."""
        return [asked.text for asked in self.asked]

    @property
    def asked_besides_the_keyring(self) -> list[Asked]:
        """Without the reads of the keyring's version, which a token with an unknown ``kid`` causes once a second."""
        return [asked for asked in self.asked if asked.values != {"named": KEYRING_VERSION}]

    @property
    def reads(self) -> Tx:
        return _watch_tx(self._database.reads, self)

    @property
    def scans(self) -> Tx:
        return _watch_tx(self._database.scans, self)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        self.transactions += 1
        async with self._database.transaction() as tx:
            yield _watch_tx(tx, self)

    async def run(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        return await run_with_retries(cast(Database, self), work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


class _WatchedTx:
    def __init__(self, tx: Tx, watch: WatchedDatabase) -> None:
        self._tx, self._watch = tx, watch

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._tx, name)

        def recorded(statement: object, /, **params: Any) -> Any:
            is_statement = isinstance(statement, Statement)
            text = statement.compiled(self._watch.dialect).text if is_statement else str(statement)  # type: ignore[attr-defined]
            self._watch.asked.append(Asked(text, params))
            return call(statement, **params)

        return recorded


def _watch_tx(tx: Tx, watch: WatchedDatabase) -> Tx:
    return cast(Tx, _WatchedTx(tx, watch))


def watch(server: Server) -> WatchedDatabase:
    """Watch the server's database from now on."""
    watched = WatchedDatabase(server.db)
    server.db = cast(Database, watched)
    return watched
