"""Reads on PostgreSQL outside transactions, retried once on another connection when the first one is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from sqlalchemy.sql.ddl import ExecutableDDLElement

from keystead import errors
from keystead.db.interface import Row, Tx
from keystead.db.postgres_connect import FAILURES, Connector
from keystead.db.postgres_errors import ConnectionAction, connection_action, is_lost, translate
from keystead.db.postgres_pool import Connection, Pool
from keystead.db.statements import Compiled, Statement

T = TypeVar("T")


class Reader(Protocol):
    """Runs reads in a transaction that is rolled back."""

    def __call__(self, work: Callable[[Tx], Awaitable[T]]) -> Awaitable[T]:
        """The result of ``work``, retried once on another connection."""
        ...


class _Reads:
    async def execute(self, statement: Statement, /, **params: Any) -> int:
        raise TypeError("a change needs a transaction")

    async def execute_ddl(self, element: ExecutableDDLElement | str, /) -> None:
        raise TypeError("a change needs a transaction")


class ReadsInTransactions(_Reads):
    """For connections behind a transaction pooler: statement and timeouts are sent in one transaction."""

    def __init__(self, read: Reader) -> None:
        self._read = read

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        """The first row, or None."""
        reading(statement)
        return await self._read(lambda tx: tx.find(statement, **params))

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        """All rows."""
        reading(statement)
        return await self._read(lambda tx: tx.list(statement, **params))


class DirectReads(_Reads):
    """One round trip each, with a statement that is prepared once per connection."""

    def __init__(self, connector: Connector, pool: Pool, second: ReadsInTransactions) -> None:
        self._connector = connector
        self._pool = pool
        self._second = second

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        """The first row, or None."""
        compiled = reading(statement)
        values = compiled.bind(params)
        connection = await acquire(self._pool)
        try:
            row = await connection.fetchrow(compiled.text, *values)
        except BaseException as error:
            self._take_back(connection, error)
            return await self._second.find(statement, **params)
        self._pool.release(connection)
        return None if row is None else compiled.decode(row)

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        """All rows."""
        compiled = reading(statement)
        values = compiled.bind(params)
        connection = await acquire(self._pool)
        try:
            rows = await connection.fetch(compiled.text, *values)
        except BaseException as error:
            self._take_back(connection, error)
            return await self._second.list(statement, **params)
        self._pool.release(connection)
        return [compiled.decode(row) for row in rows]

    def _take_back(self, connection: Connection, error: BaseException) -> None:
        """Return the connection; raise the translated error unless the read may be retried."""
        take_back(self._pool, connection, error)
        self._connector.note(error)
        if not is_lost(error):
            raise translate(error) from None


def reading(statement: Statement) -> Compiled:
    """The statement compiled for PostgreSQL.

    :raises TypeError: when it writes.
    """
    compiled = statement.for_postgresql or statement.compiled("postgresql")
    if compiled.writes:
        raise TypeError("a change needs a transaction")
    return compiled


async def acquire(pool: Pool) -> Connection:
    """Acquire a connection, retrying once when it is lost while it is opened.

    :raises ServiceUnavailable: when there is none.
    """
    try:
        try:
            return await pool.acquire()
        except FAILURES as error:
            if not is_lost(error):
                raise
        return await pool.acquire()
    except FAILURES as error:
        raise errors.ServiceUnavailable(cause=f"no connection: {type(error).__name__}: {error}") from None


def take_back(pool: Pool, connection: Connection, error: BaseException) -> None:
    """Return a connection outside a transaction to the pool, as the error requires."""
    match connection_action(error):
        case ConnectionAction.release:
            pool.release(connection)
        case ConnectionAction.discard:
            pool.discard(connection)
        case ConnectionAction.renew:
            pool.renew(connection)
