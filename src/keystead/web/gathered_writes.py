"""One write to a socket for each answer, and all answers of one turn of the event loop together.

uvicorn writes an answer's headers and its body one after the other, each by a system call, and each call may wake a
client that sleeps. Gathered, a server under load wakes its clients once for many answers, a quarter of the cost of
a short request. An answer waits for nothing but the requests that arrived in the same instant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

LARGEST_WAIT = 64 * 1024
"""Bytes that may wait; more are written at once, so that a large answer is held up by its client as it should be."""


class WriteGatherer:
    """The transports of one event loop that have something to write at the end of this turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[GatheringTransport] = []

    def add(self, transport: GatheringTransport) -> None:
        """Has the transport write before the loop looks for new events."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(transport)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            transport.flush()


class GatheringTransport(asyncio.Transport):
    """A transport whose writes are gathered, and whose ``close`` is what ``on_close`` makes of it: it ends in
    ``hang_up``, perhaps later. Everything else is the transport's own."""

    def __init__(
        self, transport: asyncio.Transport, gatherer: WriteGatherer, on_close: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self._transport = transport
        self._gatherer = gatherer
        self._on_close = on_close or self.hang_up
        self._parts: list[bytes] = []
        self._size = 0
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keeps the bytes until the end of the turn, or until they are many; drops them when it is closing."""
        if not data or self._is_closing:
            return
        self._parts.append(bytes(data))
        self._size += len(data)
        if self._size > LARGEST_WAIT:
            self.flush()
        elif len(self._parts) == 1:
            self._gatherer.add(self)

    def flush(self) -> None:
        """Writes what has been kept, unless the client hung up meanwhile: uvloop raises for a connection that is gone,
        and the other answers of this turn would be lost with this one."""
        if self._parts:
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Writes what has been kept, takes nothing more, and closes in the protocol's way."""
        if not self._is_closing:
            self.flush()
            self._is_closing = True
            if not self._transport.is_closing():
                self._on_close()

    def hang_up(self) -> None:
        """Writes what has been kept, and closes."""
        self.flush()
        self._is_closing = True
        self._transport.close()

    def write_eof(self) -> None:
        """Tells the client that nothing more comes; what it still sends is read."""
        self.flush()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def abort(self) -> None:
        """Closes immediately; what has been kept is lost."""
        self._parts.clear()
        self._size = 0
        self._is_closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closing, or the protocol wants it to."""
        return self._is_closing or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the transport says."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """As the transport does."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """As the transport does."""
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        """As the transport says."""
        return self._transport.is_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that are not with the kernel yet."""
        return self._size + self._transport.get_write_buffer_size()
