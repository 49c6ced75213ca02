"""uvicorn's HTTP/1.1 protocol with the limits that uvicorn leaves to a proxy: number, size, time, and trailers.

httptools buffers a head of any size, and uvicorn waits for it without a timeout, both before the application could
check a credential. And uvicorn closes a connection as soon as the response is complete: if the request is not, the
kernel resets the connection, and the client may never read the response.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from keystead.web.connection_limits import ConnectionLimits
from keystead.web.connections import Connections, Prefix, Queue
from keystead.web.http_transport import (
    HEAD_TOO_LARGE,
    NOT_HTTP,
    PIPELINE_FULL,
    SERVER_FULL,
    CoalescingTransport,
    FinalResponse,
    PipelineFlow,
    WriteCoalescer,
)

SLICE = 4 * 1024
"""Bytes that are parsed between two checks of the limits."""

_IDLE, _HEAD, _BODY = range(3)
"""What the parser is in: nothing (between requests), the head of a request, or what comes after its head."""
_REQUEST_LINE_OVERHEAD = len("POST  HTTP/1.1\r\n\r\n")


class _Rejected(Exception):
    """Stops the parser."""


class ProtocolFactory:
    """Makes the protocol of each connection of one process."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._shared: tuple[Connections, WriteCoalescer] | None = None

    def __call__(self, **options: Any) -> LimitedProtocol:
        """A new protocol. Call it inside the event loop that runs it."""
        if self._shared is None:
            loop = asyncio.get_running_loop()
            self._shared = Connections(loop, self.limits), WriteCoalescer(loop)
        return LimitedProtocol(*self._shared, self.limits, **options)


class LimitedProtocol(HttpToolsProtocol):
    """One connection, whose requests are limited in size and time; trailers are parsed and ignored."""

    def __init__(
        self, connections: Connections, coalescer: WriteCoalescer, limits: ConnectionLimits, **options: Any
    ) -> None:
        super().__init__(**options)
        self.queue: Queue | None = None
        self.prefix: Prefix | None = None
        self._connections = connections
        self._coalescer = coalescer
        self._limits = limits
        self._stage = _IDLE
        self._size = 0
        """Bytes since the stage began. If it began inside a slice, the rest of that slice is not counted."""
        self._unparsed = b""
        """Received while requests waited in the pipeline; parsed when it is empty."""
        self._final_response: FinalResponse | None = None
        """Written after the response to the current request; ends the connection."""
        self._is_input_closed = False
        """Whether the parser receives nothing more."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeouts, or refuse the connection if there are too many."""
        coalescing = CoalescingTransport(transport, self._coalescer, self._close)
        super().connection_made(coalescing)
        self.flow = PipelineFlow(coalescing, self.pipeline)
        if not self._connections.admit(self, self.client[0] if self.client else ""):
            self._is_input_closed = True
            coalescing.write(SERVER_FULL.bytes)
            coalescing.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeouts."""
        self._is_input_closed = True
        self._take_unparsed()
        self._connections.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse slice by slice, until a limit is exceeded."""
        for start in range(0, len(data), SLICE):
            if self._is_input_closed:
                self._discard(len(data) - start)
                break
            if self.pipeline:
                self._keep_unparsed(data[start:])
                break
            self._parse(data[start : start + SLICE])
        if not self._is_input_closed:
            self._update_timeout()

    def pause_writing(self) -> None:
        """Start the timeout of a client that does not read."""
        super().pause_writing()
        self._connections.pause(self)

    def resume_writing(self) -> None:
        """Stop that timeout."""
        super().resume_writing()
        self._connections.resume(self)

    def on_message_begin(self) -> None:
        """Enter the head of a request."""
        self._stage = _HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, unless it is rejected.

        Trailers go to a separate list, which is ignored: as headers (RFC 9110 §6.5.1) they could carry a credential, or
        a client address that a proxy would have removed from the headers.
        """
        if self._is_head_too_large(len(self.url) + _REQUEST_LINE_OVERHEAD):
            raise self._reject(HEAD_TOO_LARGE)
        if len(self.pipeline) >= self._limits.pipelined:
            raise self._reject(PIPELINE_FULL)
        if self.parser.should_upgrade():
            return  # The parser stops here; ``_feed`` parses the request again, without its Upgrade header.
        super().on_headers_complete()
        self._stage, self._size = _BODY, 0
        self.headers = []

    def on_message_complete(self) -> None:
        """Leave the request, whose trailers are complete."""
        if self.parser.should_upgrade():
            return
        if self.headers and self._is_head_too_large():
            raise self._reject(HEAD_TOO_LARGE)
        self._stage, self._size = _IDLE, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Parse what waited for this response, start the next timeout, or end the connection."""
        super().on_response_complete()
        if self._unparsed and not self.pipeline and not self._is_input_closed:
            self.data_received(self._take_unparsed())
        if not self.cycle.response_complete:
            return
        if not self._is_input_closed:
            if self._stage == _BODY and self.expect_100_continue:
                # The client may still send the body or not (RFC 9110 §10.1.1): the next bytes are ambiguous.
                self.transport.close()
            else:
                self._connections.move(self, self._idle_queue(self._connections.answered))
        elif self._final_response is not None and not self.transport.is_closing():
            self.transport.write(self._final_response.bytes)
            self.transport.close()

    @property
    def is_unread(self) -> bool:
        """Whether bytes of a response wait for the client to read."""
        return self.transport.get_write_buffer_size() > 0

    @property
    def is_reading(self) -> bool:
        """Whether we read what the client sends."""
        return not self.flow.read_paused

    def hang_up(self) -> None:
        """Close as soon as everything is written; a client that does not read has until its timeout."""
        self._is_input_closed = True
        self._connections.close(self)
        self.transport.hang_up()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Close immediately."""
        self._is_input_closed = True
        self.transport.abort()

    @property
    def _is_busy(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _parse(self, data: bytes) -> None:
        self._size += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if not self._is_input_closed:
                self._reject(NOT_HTTP)
            return
        if self._stage == _BODY:
            if self.headers and self._is_head_too_large():
                self._reject(HEAD_TOO_LARGE)
            elif self._size > self._limits.discarded_bytes:
                self.hang_up()
        elif self._size > self._limits.head_bytes or (self._stage == _HEAD and self._is_head_too_large()):
            self._reject(HEAD_TOO_LARGE)

    def _feed(self, data: bytes) -> None:
        """Parse. A request to upgrade is parsed again without its Upgrade header, and so ignored (RFC 9110 §7.8).

        :raises httptools.HttpParserError: for invalid HTTP, and for a rejected request.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                headers = [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
                if len(headers) == len(self.headers):
                    raise httptools.HttpParserError("CONNECT") from None
                version = self.parser.get_http_version().encode()
                line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)
                data = b"".join((line, *headers, b"\r\n", data[upgrade.args[0] :]))
                # The old parser accepts nothing after a request with "Connection: close", or of HTTP/1.0.
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _keep_unparsed(self, data: bytes) -> None:
        if self._connections.unparsed_bytes + len(data) > self._limits.unparsed_bytes:
            self._reject(PIPELINE_FULL)
            return
        self._connections.unparsed_bytes += len(data)
        self._unparsed += data

    def _take_unparsed(self) -> bytes:
        unparsed, self._unparsed = self._unparsed, b""
        self._connections.unparsed_bytes -= len(unparsed)
        return unparsed

    def _update_timeout(self) -> None:
        connections, queue = self._connections, self.queue
        if self._is_busy:
            wanted = None if self._stage == _IDLE else connections.body
        else:
            # Line ends between requests do not start the keep-alive timeout.
            wanted = self._idle_queue(connections.answered if queue is connections.discarding else connections.silent)
        if queue is not wanted:
            connections.move(self, wanted)

    def _idle_queue(self, between_requests: Queue) -> Queue:
        if self._stage == _IDLE:
            return between_requests
        return self._connections.head if self._stage == _HEAD else self._connections.discarding

    def _is_head_too_large(self, size: int = 0) -> bool:
        headers, most = self.headers, self._limits.head_bytes
        if len(headers) > self._limits.headers:
            return True
        if self._size + SLICE <= most:
            return False
        # Each header has a colon, a space and a line end.
        return size + sum([len(name) + len(value) + 4 for name, value in headers]) > most

    def _reject(self, response: FinalResponse) -> _Rejected:
        """Read no more; end the connection with this response, after those of earlier requests."""
        self._connections.count(response.reason)
        self._is_input_closed = True
        self._take_unparsed()
        if self._stage == _BODY and self.pipeline:
            # The last one waiting is the request whose body this is.
            self.pipeline[0] = (self.cycle, response)
        elif self._stage != _BODY and self._is_busy:
            self._final_response = response
        else:
            # No response is interrupted, and no request is answered twice.
            if self._stage != _BODY or not self.cycle.response_started:
                self.transport.write(response.bytes)
            self.transport.close()
        return _Rejected(response.reason)

    def _close(self) -> None:
        """Close after the client has sent the rest of its request: a reset would destroy the response (lingering)."""
        if self._stage == _IDLE and self.is_reading and not self._is_input_closed:
            self.hang_up()
            return
        self._is_input_closed, self._size = True, 0
        self.pipeline.clear()
        self.transport.write_eof()
        self.flow.resume_reading()
        self._connections.move(self, self._connections.lingering)

    def _discard(self, size: int) -> None:
        self._size += size
        if self._size > self._limits.discarded_bytes:
            self.hang_up()
