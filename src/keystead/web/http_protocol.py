"""uvicorn's HTTP/1.1 protocol with the bounds that it leaves to a proxy: size, time, and trailers.

httptools gathers a header for as long as it arrives, and uvicorn waits for one for as long as the client likes; both
happen before the application is asked for anything, let alone for a credential.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from keystead.web.gathered_writes import GatheringTransport, WriteGatherer

LARGEST_HEAD = 32 * 1024
"""Bytes of the request line and the headers."""
LARGEST_REST = 4 * 1024 * 1024
"""Bytes after the head. The application refuses a body of far fewer; what its client goes on sending is read and
thrown away up to here, so that the refusal can be read."""
LONGEST_REQUEST = 30.0
"""Seconds from the first byte of a request (or from connecting) to its last: 15 for the head, 15 for the body."""

_TOO_LARGE = b"The request's headers are too large."
_REFUSAL = b"".join(
    (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
        b"content-type: text/plain; charset=utf-8\r\n",
        b"content-length: %d\r\n" % len(_TOO_LARGE),
        b"connection: close\r\n\r\n",
        _TOO_LARGE,
    )
)


@lru_cache(maxsize=4)
def _gatherer(loop: asyncio.AbstractEventLoop) -> WriteGatherer:
    return WriteGatherer(loop)


class BoundedProtocol(HttpToolsProtocol):
    """One connection, whose requests are bounded in size and time; trailers are read and ignored."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_in_head = True
        self._size = 0
        self._begun: float | None = None
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to count the seconds."""
        super().connection_made(GatheringTransport(transport, _gatherer(self.loop)))
        self._begun = self.loop.time()
        self._watch = self.loop.call_later(LONGEST_REQUEST, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clock."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts the bytes of the head and of what follows it."""
        self._size += len(data)
        super().data_received(data)
        if self._size > (LARGEST_HEAD if self._is_in_head else LARGEST_REST):
            self._give_up()

    def on_message_begin(self) -> None:
        """The first byte of a request is there."""
        self._begun = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole. A trailer must not pass for a header (RFC 9110 §6.5.1): it could carry a credential, or an
        address that a proxy would have taken out of the headers. Those that come now are put on a list of their own."""
        self._is_in_head, self._size = False, 0
        super().on_headers_complete()
        self.headers = []

    def on_message_complete(self) -> None:
        """The request is whole: the clock stops until the next one begins."""
        self._is_in_head, self._size, self._begun = True, 0, None
        super().on_message_complete()

    def _look(self) -> None:
        """Closes a connection whose request takes too long; idle ones are uvicorn's to close."""
        passed = 0.0 if self._begun is None else self.loop.time() - self._begun
        if passed >= LONGEST_REQUEST:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(LONGEST_REQUEST - passed, self._look)

    def _give_up(self) -> None:
        if self.transport.is_closing():
            return
        # While an earlier answer is being written nothing may come between its parts.
        cycle: RequestResponseCycle | None = self.cycle
        if self._is_in_head and (cycle is None or cycle.response_complete):
            self.transport.write(_REFUSAL)
        self.transport.close()
