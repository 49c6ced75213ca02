"""Connections to PostgreSQL, lent out one at a time.

asyncpg's own pool wraps each call in a proxy, and each loan in a task on Python 3.11; together they cost more
than a primary-key read. This one hands the bare connection over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import asyncpg

from keystead import errors

Connection: TypeAlias = "asyncpg.Connection[Any]"

ACQUIRE_TIMEOUT = 2.0


class Pool:
    """At most ``maximum`` connections, made by ``connect`` when first needed, the latest used lent first."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], maximum: int) -> None:
        self._connect = connect
        self._maximum = maximum
        self._size = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False

    async def acquire(self) -> Connection:
        """A connection of one's own. Raises ServiceUnavailable after two seconds, or as ``connect``."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._size -= 1
        if self._size < self._maximum:
            self._size += 1
            return await self._fill_place()
        return await self._wait()

    def release(self, connection: Connection) -> None:
        """Takes back a connection that is ready for the next one."""
        if self._closed or connection.is_closed():
            self.discard(connection)
        elif not self._hand_over(connection):
            self._idle.append(connection)

    def discard(self, connection: Connection) -> None:
        """Takes back a connection that nobody may use again."""
        connection.terminate()
        self._give_place_away()

    def renew(self, connection: Connection) -> None:
        """Takes back a connection that was lost, and drops the idle ones, which went the same way."""
        idle, self._idle = self._idle, []
        for one in (connection, *idle):
            self.discard(one)

    async def close(self) -> None:
        """Closes what is idle now, and what is lent out when it comes back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(Exception):
                await connection.close(timeout=1)

    async def _fill_place(self) -> Connection:
        try:
            return await self._connect()
        except BaseException:
            self._give_place_away()
            raise

    async def _wait(self) -> Connection:
        """Waits for a connection, or for the place of one that was discarded (None)."""
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT):
                connection = await turn
        except BaseException as error:
            self._return_unwanted(turn)
            if isinstance(error, TimeoutError):
                raise errors.ServiceUnavailable(cause="every database connection is in use") from None
            raise
        return connection or await self._fill_place()

    def _return_unwanted(self, turn: asyncio.Future[Connection | None]) -> None:
        """What was handed over at the very moment its taker gave up goes to the next."""
        if not turn.done() or turn.cancelled():
            return
        connection = turn.result()
        if connection is None:
            self._give_place_away()
        else:
            self.release(connection)

    def _give_place_away(self) -> None:
        if not self._hand_over(None):
            self._size -= 1

    def _hand_over(self, connection: Connection | None) -> bool:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False
