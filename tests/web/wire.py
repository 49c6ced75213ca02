"""Raw HTTP over a socket, for requests that no HTTP library sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import REGISTRY

BODY = b'{"query":"{ health { data { up } } }"}'
START = b"POST /graphql HTTP/1.1\r\nHost: auth.example.com\r\nContent-Type: application/json\r\n"
PLAIN = START + b"Content-Length: %d\r\n" % len(BODY)
GOOD = PLAIN + b"\r\n" + BODY
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
ANSWERED = b"}}}}"
"""How the answer to ``GOOD`` ends."""

TIMEOUT = 10.0


class Wire:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        """Send each part separately."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def until(self, end: bytes) -> bytes:
        """Read up to this."""
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        """Read until the server closes the connection."""
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.read()

    async def stays_open(self, seconds: float) -> None:
        """Check that the server neither sends anything nor closes the connection for so long."""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.reader.read(1), seconds)

    async def drip(self, drop: bytes) -> None:
        """Send this fifty times a second until the server closes the connection."""
        async with asyncio.timeout(TIMEOUT):
            while not self.reader.at_eof():
                await self.send(drop)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.reader.read(1000), 0.02)

    async def ask(self) -> bytes:
        """The answer to a good request."""
        await self.send(GOOD)
        return await self.until(ANSWERED)


@asynccontextmanager
async def connected(port: int, source: str = "127.0.0.1") -> AsyncIterator[Wire]:
    """A connection to the port, from an address of the loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def answer(port: int, *parts: bytes, until: bytes = b"") -> bytes:
    """What comes back for ``parts``, up to ``until`` or the end of the connection."""
    async with connected(port) as wire:
        try:
            await wire.send(*parts)
            return await (wire.until(until) if until else wire.rest())
        except ConnectionError:
            return b""


def statuses(got: bytes) -> list[int]:
    """The statuses of pipelined responses, in order."""
    return [int(part[:3]) for part in got.split(b"HTTP/1.1 ")[1:]]


def refused(reason: str) -> float:
    """How many connections were refused or closed for this reason."""
    return REGISTRY.get_sample_value("keystead_connections_refused_total", {"reason": reason}) or 0.0
