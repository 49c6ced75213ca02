"""uvicorn's HTTP/1.1 protocol with the bounds that it leaves to a proxy: number, size, time, and trailers.

httptools gathers a header for as long as it arrives, and uvicorn waits for one for as long as the client likes; both
happen before the application is asked for anything, let alone for a credential. And where an answer is there before
the request is whole, uvicorn closes: the kernel then resets the connection, and the answer is lost on its way.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from keystead.web.connection_bounds import Bounds
from keystead.web.connections import Connections, Prefix, Queue
from keystead.web.gathered_writes import GatheringTransport, WriteGatherer
from keystead.web.pipeline import FULL, NOT_HTTP, PIPELINE, TOO_LARGE, PipelineFlow, Refusal

SLICE = 4 * 1024
"""Bytes that are parsed before what they held is counted."""

_BETWEEN, _HEAD, _BODY = range(3)
"""Stages of a connection: between requests, in the head of one, after its head."""
_AROUND_THE_URL = len("POST  HTTP/1.1\r\n\r\n")


class _Refused(Exception):
    """Stops the parser."""


class ProtocolFactory:
    """Make the protocol of each connection of one process."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._shared: tuple[Connections, WriteGatherer] | None = None

    def __call__(self, **options: Any) -> BoundedProtocol:
        """A protocol, made inside the event loop that will run it."""
        if self._shared is None:
            loop = asyncio.get_running_loop()
            self._shared = Connections(loop, self.bounds), WriteGatherer(loop)
        return BoundedProtocol(*self._shared, self.bounds, **options)


class BoundedProtocol(HttpToolsProtocol):
    """One connection, whose requests are bounded in size and time; trailers are read and ignored."""

    def __init__(self, connections: Connections, gatherer: WriteGatherer, bounds: Bounds, **options: Any) -> None:
        super().__init__(**options)
        self.queue: Queue | None = None
        self.prefix: Prefix | None = None
        self._connections = connections
        self._gatherer = gatherer
        self._bounds = bounds
        self._stage = _BETWEEN
        self._size = 0
        """Bytes since the stage began. Where it began inside of a slice, those of this slice are not counted."""
        self._held = b""
        """What arrived while requests wait in the pipeline: it is parsed when none does."""
        self._last_answer: Refusal | None = None
        """What ends the connection when the answers before it are written."""
        self._is_deaf = False
        """Whether the parser gets nothing more."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count the seconds, unless there are too many connections."""
        gathering = GatheringTransport(transport, self._gatherer, self._close)
        super().connection_made(gathering)
        self.flow = PipelineFlow(gathering, self.pipeline)
        if not self._connections.admit(self, self.client[0] if self.client else ""):
            self._is_deaf = True
            gathering.write(FULL.bytes)
            gathering.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._is_deaf = True
        self._release()
        self._connections.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, slice by slice, until something is too large."""
        if len(data) <= SLICE and not self._is_deaf and not self.pipeline:
            self._parse(data)
        else:
            self._parse_slices(data)
        if not self._is_deaf:
            self._wait_for_the_rest()

    def pause_writing(self) -> None:
        """Give the client its time to read."""
        super().pause_writing()
        self._connections.pause(self)

    def resume_writing(self) -> None:
        """Stop that clock."""
        super().resume_writing()
        self._connections.resume(self)

    def on_message_begin(self) -> None:
        """The first byte of a request is there."""
        self._stage = _HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, unless it is refused.

        A trailer must not pass for a header (RFC 9110 §6.5.1): it could carry a credential, or an address that a proxy
        would have taken out of the headers. Those that come now are put on a list of their own.
        """
        if self._is_too_large(len(self.url) + _AROUND_THE_URL):
            raise self._refused(TOO_LARGE)
        if len(self.pipeline) >= self._bounds.most_pipelined:
            raise self._refused(PIPELINE)
        if self.parser.should_upgrade():
            # The parser takes what follows for another protocol: the request starts when it is parsed without that.
            return
        super().on_headers_complete()
        self._stage, self._size = _BODY, 0
        self.headers = []

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self.parser.should_upgrade():
            return
        if self.headers and self._is_too_large():
            raise self._refused(TOO_LARGE)
        self._stage, self._size = _BETWEEN, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is written: the client has to read it, and may send the next request."""
        super().on_response_complete()
        if self._held and not self.pipeline and not self._is_deaf:
            self._parse_slices(self._release())
            if not self._is_deaf:
                self._wait_for_the_rest()
        if not self.cycle.response_complete:
            return
        if not self._is_deaf and self._stage == _BODY and self.expect_100_continue:
            # Whether the client still sends the body is its choice (RFC 9110 §10.1.1).
            self.transport.close()
        elif not self._is_deaf:
            self._connections.move(self, self._idle_queue(self._connections.answered))
        elif self._last_answer is not None and not self.transport.is_closing():
            self.transport.write(self._last_answer.bytes)
            self.transport.close()

    @property
    def is_unread(self) -> bool:
        """Whether bytes of an answer wait for the client."""
        return self.transport.get_write_buffer_size() > 0

    @property
    def is_reading(self) -> bool:
        """Whether we read what the client sends."""
        return not self.flow.read_paused

    def hang_up(self) -> None:
        """Close as soon as what was written is sent; a client that does not read it has its time."""
        self._is_deaf = True
        self._connections.close(self)
        self.transport.hang_up()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Close immediately."""
        self._is_deaf = True
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
            if not self._is_deaf:
                self._refuse(NOT_HTTP)
            return
        if self._stage == _BODY:
            if self.headers and self._is_too_large():
                self._refuse(TOO_LARGE)
            elif self._size > self._bounds.largest_rest:
                self.hang_up()
        elif self._size > self._bounds.largest_head or (self._stage == _HEAD and self._is_too_large()):
            self._refuse(TOO_LARGE)

    def _feed(self, data: bytes) -> None:
        """Parse; a request to change the protocol is one that does not ask for it (RFC 9110 §7.8).

        :raises httptools.HttpParserError: for what is not HTTP, and what is refused.
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
                # The old one takes nothing after a request with "Connection: close", or of HTTP/1.0.
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _parse_slices(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            if self._is_deaf:
                self._discard(len(data) - start)
                break
            if self.pipeline:
                self._hold(data[start:])
                break
            self._parse(data[start : start + SLICE])

    def _hold(self, data: bytes) -> None:
        if self._connections.held + len(data) > self._bounds.most_held:
            self._refuse(PIPELINE)
            return
        self._connections.held += len(data)
        self._held += data

    def _release(self) -> bytes:
        held, self._held = self._held, b""
        self._connections.held -= len(held)
        return held

    def _wait_for_the_rest(self) -> None:
        connections, queue = self._connections, self.queue
        if self._is_busy:
            wanted = None if self._stage == _BETWEEN else connections.body
        else:
            # A client that sends line ends between its requests is not one that rests.
            rests = connections.answered if queue is connections.discarding else connections.silent
            wanted = self._idle_queue(rests)
        if queue is not wanted:
            connections.move(self, wanted)

    def _idle_queue(self, rests: Queue) -> Queue:
        if self._stage == _BETWEEN:
            return rests
        return self._connections.head if self._stage == _HEAD else self._connections.discarding

    def _is_too_large(self, size: int = 0) -> bool:
        headers, largest = self.headers, self._bounds.largest_head
        if len(headers) > self._bounds.most_headers:
            return True
        if self._size + SLICE <= largest:
            return False
        # Each has a colon, a space and a line end.
        return size + sum([len(name) + len(value) + 4 for name, value in headers]) > largest

    def _refused(self, refusal: Refusal) -> _Refused:
        self._refuse(refusal)
        return _Refused(refusal.reason)

    def _refuse(self, refusal: Refusal) -> None:
        """Read nothing more, and end the connection with this answer, after those of the requests before."""
        self._connections.count(refusal.reason)
        self._is_deaf = True
        self._release()
        if self._stage == _BODY and self.pipeline:
            # The last that waits is the request whose body this is.
            self.pipeline[0] = (self.cycle, refusal)
        elif self._stage != _BODY and self._is_busy:
            self._last_answer = refusal
        else:
            # Nothing may come between the parts of an answer, and nothing answers a request twice.
            if self._stage != _BODY or not self.cycle.response_started:
                self.transport.write(refusal.bytes)
            self.transport.close()

    def _close(self) -> None:
        """Close, after what the client is still sending: it reads no answer while the kernel resets its connection."""
        if self._stage == _BETWEEN and self.is_reading and not self._is_deaf:
            self.hang_up()
            return
        self._is_deaf, self._size = True, 0
        self.pipeline.clear()
        self.transport.write_eof()
        self.flow.resume_reading()
        self._connections.move(self, self._connections.lingering)

    def _discard(self, size: int) -> None:
        self._size += size
        if self._size > self._bounds.largest_rest:
            self.hang_up()
