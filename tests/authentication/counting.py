"""Databases that tell whether they were asked."""

from __future__ import annotations

from typing import Any

from keystead.context import Server
from keystead.db.engine import Row
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
