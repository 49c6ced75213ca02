"""Databases that tell whether they were asked."""

from __future__ import annotations

from typing import Any

from keystead.context import Server
from keystead.db.interface import Row
from keystead.db.statements import Statement


class CountingReads:
    """Passes reads on, and counts them."""

    def __init__(self, reads: Any) -> None:
        self._reads = reads
        self.count = 0

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        """Counts one."""
        self.count += 1
        row: Row | None = await self._reads.find(statement, **params)
        return row

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        """Counts one."""
        self.count += 1
        rows: list[Row] = await self._reads.list(statement, **params)
        return rows


class CountingDatabase:
    """A database whose reads are counted; everything else is the real one's."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.reads = CountingReads(database.reads)
        self.transactions = 0

    def transaction(self) -> Any:
        """Counts one."""
        self.transactions += 1
        return self._database.transaction()

    async def run(self, work: Any) -> Any:
        """Counts one."""
        self.transactions += 1
        return await self._database.run(work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def count_queries(server: Server) -> CountingDatabase:
    """From now on the server's queries are counted."""
    counting = CountingDatabase(server.db)
    server.db = counting  # type: ignore[assignment]
    return counting


class WatchedDatabase:
    """A database that notes the statements that are run on it, in their order."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.seen: list[Statement] = []
        self.reads = _WatchedTx(database.reads, self.seen)

    async def run(self, work: Any) -> Any:
        """The same in a transaction."""

        async def watched(tx: Any) -> Any:
            return await work(_WatchedTx(tx, self.seen))

        return await self._database.run(watched)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


class _WatchedTx:
    def __init__(self, tx: Any, seen: list[Statement]) -> None:
        self._tx, self._seen = tx, seen

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        self._seen.append(statement)
        row: Row | None = await self._tx.find(statement, **params)
        return row

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        self._seen.append(statement)
        rows: list[Row] = await self._tx.list(statement, **params)
        return rows

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        self._seen.append(statement)
        changed: int = await self._tx.execute(statement, **params)
        return changed


def watch(server: Server) -> list[Statement]:
    """From now on the server's statements are noted here."""
    watched = WatchedDatabase(server.db)
    server.db = watched  # type: ignore[assignment]
    return watched.seen
