"""PostgreSQL through asyncpg: pooled connections, statements prepared once per connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, TypeVar

from sqlalchemy.sql.ddl import ExecutableDDLElement

from keystead import errors
from keystead.aio import finish
from keystead.db.interface import ReadOnly, Row, Tx, Undone, run_with_retries
from keystead.db.postgres_connect import (
    BEGIN,
    BEGIN_WITH_SETTINGS,
    FAILURES,
    Connector,
    is_on_this_machine,
    require_utf8,
    transport_of,
    unreachable,
)
from keystead.db.postgres_errors import ConnectionAction, connection_action, is_lost, translate, translate_at_commit
from keystead.db.postgres_pool import Connection, Pool
from keystead.db.postgres_reads import DirectReads, ReadsInTransactions, acquire, take_back
from keystead.db.statements import Statement, ddl_text
from keystead.settings.database_url import PostgresUrl

T = TypeVar("T")

MAXIMUM_CONNECTIONS = 10
_IS_READ_ONLY = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"


class _Transaction:
    """Statements on one connection, between BEGIN and COMMIT."""

    def __init__(self, connection: Connection, connector: Connector) -> None:
        self._connection = connection
        self._connector = connector
        self.has_failed = False
        self.action = ConnectionAction.release

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        compiled = statement.for_postgresql or statement.compiled("postgresql")
        row = await self._run(self._connection.fetchrow, compiled.text, compiled.bind(params))
        return None if row is None else compiled.decode(row)

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        compiled = statement.for_postgresql or statement.compiled("postgresql")
        rows = await self._run(self._connection.fetch, compiled.text, compiled.bind(params))
        return [compiled.decode(row) for row in rows]

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        compiled = statement.for_postgresql or statement.compiled("postgresql")
        tag: str = await self._run(self._connection.execute, compiled.text, compiled.bind(params))
        return int(tag.rpartition(" ")[2])

    async def execute_ddl(self, element: ExecutableDDLElement | str, /) -> None:
        await self._run(self._connection.execute, ddl_text(element, "postgresql"), [])

    async def value(self, text: str) -> Any:
        """The single value of a query without parameters."""
        return await self._run(self._connection.fetchval, text, [])

    async def _run(self, call: Callable[..., Awaitable[Any]], text: str, values: Sequence[Any]) -> Any:
        if self.has_failed:
            raise errors.InternalError(cause="a statement after one that failed in the same transaction")
        try:
            return await call(text, *values)
        except Exception as error:
            self.has_failed = True
            self.action = connection_action(error)
            self._connector.note(error)
            raise translate(error) from None
        except BaseException:
            self.has_failed = True
            raise


class PostgresDatabase:
    """A PostgreSQL database, READ COMMITTED."""

    dialect: Literal["postgresql"] = "postgresql"

    def __init__(self, url: PostgresUrl) -> None:
        self.url = url
        self._connector = Connector(url)
        self._pool = Pool(self._connector.connect, MAXIMUM_CONNECTIONS)
        self._reads_in_transactions = ReadsInTransactions(self._read)
        self._direct_reads = DirectReads(self._connector, self._pool, self._reads_in_transactions)

    @property
    def reads(self) -> Tx:
        """Each statement by itself."""
        return self._reads_in_transactions if self._connector.is_pooled else self._direct_reads

    @property
    def scans(self) -> Tx:
        """The same as ``reads``: nothing here blocks the loop."""
        return self.reads

    async def open(self) -> None:
        """Open the first connection.

        :raises StartupError: when the server cannot be used; without the password.
        """
        try:
            connection = await self._pool.acquire()
        except FAILURES as error:
            raise unreachable(self._connector.url, error) from None
        self._pool.release(connection)
        require_utf8(connection, self._connector.url)

    async def close(self) -> None:
        """Closes the pool."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """A transaction on one connection. Once COMMIT is sent, its result is awaited despite cancellation."""
        connection = await self._begin()
        tx = _Transaction(connection, self._connector)
        try:
            yield tx
            if tx.has_failed:
                raise errors.InternalError(cause="the end of a transaction in which a statement failed")
        except BaseException:
            await finish(asyncio.ensure_future(self._roll_back(connection, tx.action)))
            raise
        await finish(asyncio.ensure_future(self._commit(connection)))

    async def run(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Retries, three attempts in all, after 40001, 40P01 and a connection lost before COMMIT."""
        return await run_with_retries(self, work)

    async def now(self) -> datetime:
        """The server's clock."""
        answer: datetime = await self.ask("SELECT clock_timestamp()")
        return answer

    @property
    def is_pooled(self) -> bool:
        """Whether the connections go through a transaction pooler."""
        return self._connector.is_pooled

    async def ask(self, text: str) -> Any:
        """The single value of a query without parameters."""
        return await self._read(lambda tx: tx.value(text))

    async def link(self) -> tuple[str | None, bool]:
        """The TLS version of the connections (None: not encrypted), and whether they stay on this machine."""
        connection = await acquire(self._pool)
        transport = transport_of(connection)
        encryption, peer = transport.get_extra_info("ssl_object"), transport.get_extra_info("socket")
        is_local = is_on_this_machine(peer.family, peer.getpeername())
        self._pool.release(connection)
        return None if encryption is None else encryption.version(), is_local

    async def ping(self) -> None:
        """Check that the session may write; one that may not is closed, and another one tried."""

        async def ask(tx: _Transaction) -> None:
            if await tx.value(_IS_READ_ONLY):
                tx.action = ConnectionAction.renew
                raise ReadOnly(cause="a standby, or default_transaction_read_only is on")

        await self._read(ask)

    async def _read(self, work: Callable[[_Transaction], Awaitable[T]]) -> T:
        """Run reads in a transaction that is rolled back, retried once on another connection after ``Undone``."""
        try:
            return await self._read_once(work)
        except Undone:
            return await self._read_once(work)

    async def _read_once(self, work: Callable[[_Transaction], Awaitable[T]]) -> T:
        connection = await self._begin()
        tx = _Transaction(connection, self._connector)
        try:
            return await work(tx)
        finally:
            await finish(asyncio.ensure_future(self._roll_back(connection, tx.action)))

    async def _begin(self, *, retries: bool = True) -> Connection:
        """Acquire a connection and begin a transaction; a lost connection is replaced once."""
        connection = await acquire(self._pool)
        try:
            await connection.execute(BEGIN_WITH_SETTINGS if self._connector.is_pooled else BEGIN)
        except BaseException as error:
            if is_lost(error):
                self._pool.renew(connection)
            else:
                self._pool.discard(connection)
            if retries and is_lost(error):
                return await self._begin(retries=False)
            raise translate(error) from None
        return connection

    async def _commit(self, connection: Connection) -> None:
        try:
            tag = await connection.execute("COMMIT")
        except BaseException as error:
            take_back(self._pool, connection, error)
            raise translate_at_commit(error) from None
        self._pool.release(connection)
        if tag != "COMMIT":
            raise errors.ServiceUnavailable(cause=f"the server answered {tag} to COMMIT: nothing was written")

    async def _roll_back(self, connection: Connection, action: ConnectionAction) -> None:
        if action is ConnectionAction.renew:
            self._pool.renew(connection)
        elif action is ConnectionAction.discard:
            self._pool.discard(connection)
        else:
            try:
                await connection.execute("ROLLBACK", timeout=2)
            except BaseException:
                self._pool.discard(connection)
            else:
                self._pool.release(connection)
