"""A relay on the loopback between a client and a server, which can be cut: as a whole, or around one COMMIT."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum
from urllib.parse import urlsplit, urlunsplit

COMMIT = b"COMMIT\0"
"""In the query that asks for it, and in the server's answer."""


class Cut(Enum):
    """On which side of the next COMMIT both connections are cut."""

    before = "the server never reads it"
    after = "the server has committed, and its answer is lost"


class Relay:
    """Passes bytes between its own port and a server, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.next_commit: Cut | None = None

    async def start(self) -> None:
        """Listens, after a cut on the same port as before."""
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Ends every connection, and refuses new ones."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._there)
        both = {writer, there_writer}
        self._open |= both
        with suppress(OSError):
            await asyncio.gather(
                self._pass_on(reader, there_writer, Cut.before), self._pass_on(there_reader, writer, Cut.after)
            )
        self._open -= both
        for one in both:
            one.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: Cut) -> None:
        while block := await reader.read(65_536):
            if self.next_commit is side and COMMIT in block:
                self.next_commit = None
                raise ConnectionAbortedError("cut at COMMIT")
            writer.write(block)
            await writer.drain()
        writer.close()


async def relay_to(url: str) -> tuple[Relay, str]:
    """A relay that listens, and the database's URL through it."""
    parts = urlsplit(url)
    relay = Relay(parts.hostname or "127.0.0.1", parts.port or 5432)
    await relay.start()
    user = parts.netloc.rpartition("@")[0]
    return relay, urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{relay.port}"))
