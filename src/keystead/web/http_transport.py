"""The write side of an HTTP/1.1 connection: write coalescing, flow control, and the responses that end it.

uvicorn writes a response's headers and its body with one system call each, and each call may wake a sleeping client.
Coalesced, the writes of all connections leave together at the end of an iteration of the event loop: a quarter of the
cost of a short request under load. A response is delayed by nothing but the requests that arrived with its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

MAX_BUFFERED = 64 * 1024
"""Bytes that are buffered per connection; more are written immediately, so that backpressure works."""


class WriteCoalescer:
    """Flushes the transports of one event loop that were written to in this iteration."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: list[CoalescingTransport] = []

    def add(self, transport: CoalescingTransport) -> None:
        """Flush the transport before the loop polls for new events."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(transport)

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        for transport in pending:
            transport.flush()


class CoalescingTransport(asyncio.Transport):
    """A transport that buffers writes until the end of the loop's iteration.

    ``close`` calls ``on_close``, which may linger before it calls ``hang_up``. All else is delegated.
    """

    def __init__(
        self, transport: asyncio.Transport, coalescer: WriteCoalescer, on_close: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self._transport = transport
        self._coalescer = coalescer
        self._on_close = on_close or self.hang_up
        self._parts: list[bytes] = []
        self._size = 0
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Buffer the bytes; drop them while closing."""
        if not data or self._is_closing:
            return
        self._parts.append(bytes(data))
        self._size += len(data)
        if self._size > MAX_BUFFERED:
            self.flush()
        elif len(self._parts) == 1:
            self._coalescer.add(self)

    def flush(self) -> None:
        """Write the buffer, unless the client has disconnected: uvloop would raise, and the transports that are to be
        flushed after this one would lose their responses."""
        if self._parts:
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Flush, accept no more writes, and close as ``on_close`` does."""
        if not self._is_closing:
            self.flush()
            self._is_closing = True
            if not self._transport.is_closing():
                self._on_close()

    def hang_up(self) -> None:
        """Flush and close."""
        self.flush()
        self._is_closing = True
        self._transport.close()

    def write_eof(self) -> None:
        """Flush and shut down the write side; reading continues."""
        self.flush()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def abort(self) -> None:
        """Close immediately and drop the buffer."""
        self._parts.clear()
        self._size = 0
        self._is_closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether ``close`` was called, or the connection is closing."""
        return self._is_closing or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Delegate."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Delegate."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Delegate."""
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        """Delegate."""
        return self._transport.is_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel does not have yet."""
        return self._size + self._transport.get_write_buffer_size()


class PipelineFlow(FlowControl):
    """Flow control that stops reading while requests wait in the pipeline."""

    def __init__(self, transport: asyncio.Transport, pipeline: deque[Any]) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Resume, unless the pipeline holds requests."""
        if not self._pipeline:
            super().resume_reading()


class FinalResponse:
    """An error response that ends its connection. Callable as an ASGI application, so that it can wait in the pipeline
    for its turn."""

    def __init__(self, reason: str, status: int, text: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.reason, self._status, self._text = reason, status, text
        length = b"%d" % len(text)
        plain = (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length), *headers
        self._headers = (*plain, (b"connection", b"close"))
        lines = [b"%s: %s\r\n" % header for header in self._headers]
        self.bytes = b"".join((STATUS_LINE[status], *lines, b"\r\n", text))

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Send this response."""
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._text, "more_body": False})


HEAD_TOO_LARGE = FinalResponse("head_too_large", 431, b"The request's headers are too large or too many.")
NOT_HTTP = FinalResponse("not_http", 400, b"Invalid HTTP request received.")
PIPELINE_FULL = FinalResponse("pipeline", 400, b"Too many pipelined requests.")
SERVER_FULL = FinalResponse("full", 503, b"Too many connections.", (b"retry-after", b"5"))
