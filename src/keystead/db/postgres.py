"""PostgreSQL: asyncpg, a pool of bare connections, statements prepared once per connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy.sql.ddl import ExecutableDDLElement

from keystead import errors
from keystead.db.engine import Row, Tx, run_again
from keystead.db.postgres_errors import is_lost, translate
from keystead.db.postgres_pool import Connection, Pool
from keystead.db.settle import settle
from keystead.db.statements import Compiled, Statement, ddl_text

T = TypeVar("T")

MAXIMUM_CONNECTIONS = 10
CONNECT_TIMEOUT = 5.0
COMMAND_TIMEOUT = 6.0
"""Seconds; a little more than the server's own limit, which leaves the connection usable."""

_SERVER_SETTINGS = {
    "application_name": "keystead",
    "timezone": "UTC",
    "jit": "off",
    "statement_timeout": "5000",
    "lock_timeout": "2000",
    "idle_in_transaction_session_timeout": "10000",
}


class _Reads:
    """Each statement by itself; once more on a fresh connection when the one at hand turns out to be gone."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, statement: Statement, /, **params: Any) -> Row | None:
        compiled = _reading(statement)
        values = compiled.bind(params)
        connection = await _acquire(self._pool)
        try:
            row = await connection.fetchrow(compiled.text, *values)
        except BaseException as error:
            again = await self._after(connection, error)
            row = await self._once_more(again, again.fetchrow(compiled.text, *values))
        else:
            self._pool.release(connection)
        return None if row is None else compiled.decode(row)

    async def list(self, statement: Statement, /, **params: Any) -> list[Row]:
        compiled = _reading(statement)
        values = compiled.bind(params)
        connection = await _acquire(self._pool)
        try:
            rows = await connection.fetch(compiled.text, *values)
        except BaseException as error:
            again = await self._after(connection, error)
            rows = await self._once_more(again, again.fetch(compiled.text, *values))
        else:
            self._pool.release(connection)
        return [compiled.decode(row) for row in rows]

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        raise TypeError("a change needs a transaction")

    async def execute_ddl(self, element: ExecutableDDLElement | str, /) -> None:
        raise TypeError("a change needs a transaction")

    async def _after(self, connection: Connection, error: BaseException) -> Connection:
        """A fresh connection after a lost one; every other error is raised."""
        if is_lost(error):
            self._pool.renew(connection)
            return await _acquire(self._pool)
        self._give_back(connection, error)
        raise translate(error) from None

    async def _once_more(self, connection: Connection, call: Awaitable[T]) -> T:
        try:
            result = await call
        except BaseException as error:
            self._give_back(connection, error)
            raise translate(error) from None
        self._pool.release(connection)
        return result

    def _give_back(self, connection: Connection, error: BaseException) -> None:
        # Only an error of the server's leaves the connection in a known state.
        if isinstance(error, asyncpg.PostgresError) and not is_lost(error):
            self._pool.release(connection)
        else:
            self._pool.discard(connection)


def _reading(statement: Statement) -> Compiled:
    compiled = statement.for_postgresql or statement.compiled("postgresql")
    if compiled.writes:
        raise TypeError("a change needs a transaction")
    return compiled


async def _acquire(pool: Pool) -> Connection:
    try:
        return await pool.acquire()
    except Exception as error:
        raise translate(error) from None


class _Transaction:
    """Statements on one connection, between BEGIN and COMMIT."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.spoiled = False

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

    async def _run(self, call: Callable[..., Awaitable[Any]], text: str, values: Sequence[Any]) -> Any:
        if self.spoiled:
            raise errors.InternalError(cause="a statement after one that failed in the same transaction")
        try:
            return await call(text, *values)
        except BaseException as error:
            self.spoiled = True
            raise translate(error) from None


class PostgresDatabase:
    """A PostgreSQL database, READ COMMITTED."""

    dialect: Literal["postgresql"] = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = Pool(self._connect, MAXIMUM_CONNECTIONS)
        self._reads = _Reads(self._pool)

    @property
    def reads(self) -> Tx:
        """Each statement by itself."""
        return self._reads

    @property
    def scans(self) -> Tx:
        """The same as ``reads``: nothing here blocks the loop."""
        return self._reads

    async def open(self) -> None:
        """Makes the first connection. Raises StartupError; its line never holds the password."""
        try:
            connection = await self._pool.acquire()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            raise unreachable(self._url, error) from None
        self._pool.release(connection)

    async def close(self) -> None:
        """Closes the pool."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """On one connection of the pool. A COMMIT that was sent is waited for, cancelled or not."""
        connection = await self._begin()
        tx = _Transaction(connection)
        try:
            yield tx
            if tx.spoiled:
                raise errors.InternalError(cause="the end of a transaction in which a statement failed")
        except BaseException:
            await settle(asyncio.ensure_future(self._roll_back(connection)))
            raise
        await settle(asyncio.ensure_future(self._commit(connection)))

    async def run(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Again, three times at most, after 40001 and 40P01."""
        return await run_again(self, work)

    async def now(self) -> datetime:
        """The server's clock."""
        answer: datetime = await self._ask("SELECT clock_timestamp()")
        return answer

    async def ping(self) -> None:
        """One round trip."""
        await self._ask("SELECT 1")

    async def _connect(self) -> Connection:
        return await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            statement_cache_size=1024,
            max_cached_statement_lifetime=0,
            server_settings=_SERVER_SETTINGS,
        )

    async def _ask(self, text: str) -> Any:
        connection = await self._begin()
        try:
            return await connection.fetchval(text)
        except Exception as error:
            raise translate(error) from None
        finally:
            await settle(asyncio.ensure_future(self._roll_back(connection)))

    async def _begin(self, *, again: bool = True) -> Connection:
        """A connection in a transaction; a lost one is replaced once, since nothing has run on it yet."""
        connection = await _acquire(self._pool)
        try:
            await connection.execute("BEGIN")
        except BaseException as error:
            if again and is_lost(error):
                self._pool.renew(connection)
                return await self._begin(again=False)
            self._pool.discard(connection)
            raise translate(error) from None
        return connection

    async def _commit(self, connection: Connection) -> None:
        try:
            tag = await connection.execute("COMMIT")
        except BaseException as error:
            self._pool.discard(connection)
            raise translate(error) from None
        self._pool.release(connection)
        if tag != "COMMIT":
            raise errors.InternalError(cause=f"the server answered {tag} to COMMIT")

    async def _roll_back(self, connection: Connection) -> None:
        try:
            await connection.execute("ROLLBACK", timeout=2)
        except BaseException:
            self._pool.discard(connection)
        else:
            self._pool.release(connection)


def unreachable(url: str, error: Exception) -> errors.StartupError:
    """The one line for a server that cannot be used."""
    return errors.StartupError(f"Cannot reach PostgreSQL at {_where(url)}: {_why(error)}")


def _where(url: str) -> str:
    """Host and port alone: what follows may be a part of a password that was not escaped."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
    except ValueError:
        return "the configured address"


def _why(error: Exception) -> str:
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0] if error.args else type(error).__name__)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "the URL is not understood"
