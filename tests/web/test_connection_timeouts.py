"""Connections that are too many or too slow, over real sockets with low limits (A105 in part)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_network

import pytest

from keystead.context import Server
from keystead.settings import Settings
from keystead.web.connection_limits import ConnectionLimits
from tests.api import listening
from tests.web.wire import ANSWERED, GOOD, START, Wire, connected, refused

pytestmark = [
    pytest.mark.attack("A105"),
    # None of this asks a database for more than that it is there.
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]

FEW = ConnectionLimits(connections=8, exempt=())
HALF_A_BODY = START + b"Content-Length: 9\r\n\r\n{"
CHUNKS = START + b"Transfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def served(server: Server, limits: ConnectionLimits) -> AsyncIterator[int]:
    """The server behind real HTTP with these limits; its port."""
    async with listening(Settings(), server, limits) as url:
        yield int(url.rpartition(":")[2])


SLOW = {
    "silent": ("silent", b""), "empty lines only": ("silent", b"\r\n\r\n"),
    "half a request line": ("slow_head", b"POST /gra"), "half a head": ("slow_head", START),
    "half a head after a request": ("slow_head", GOOD + START), "half a body": ("slow_body", HALF_A_BODY),
    "half a chunk": ("slow_body", CHUNKS + b"9\r\n{"),
    "a body without its last chunk": ("slow_body", CHUNKS + b"1\r\n{\r\n"),
    "half a trailer": ("slow_body", CHUNKS + b"1\r\n{\r\n0\r\na: "),
}  # fmt: skip


async def test_a_client_that_stops_sending_times_out(server: Server) -> None:
    async with served(server, ConnectionLimits(first_byte=0.1, head=0.1, body=0.1)) as port:
        for name, (reason, sent) in SLOW.items():
            before = refused(reason)
            async with connected(port) as wire:
                await wire.send(sent)
                got = await wire.rest()
            assert got.count(b"HTTP/1.1") == sent.count(GOOD), name
            assert refused(reason) == before + 1, name


DROPS = {
    "empty lines": (b"", b"\r\n"), "empty lines after a response": (GOOD, b"\r\n"), "headers": (START, b"X: y\r\n"),
    "bytes of a name": (START, b"x"), "bytes of a body": (START + b"Content-Length: 9999\r\n\r\n", b"{"),
    "trailers": (CHUNKS + b"1\r\n{\r\n0\r\n", b"X: y\r\n"),
}  # fmt: skip


async def test_a_client_that_drips_bytes_times_out(server: Server) -> None:
    async with served(server, ConnectionLimits(first_byte=0.2, head=0.2, body=0.2, keep_alive=0.2)) as port:

        async def drip(start: bytes, drop: bytes) -> None:
            async with connected(port) as wire:
                await wire.send(start)
                if start == GOOD:
                    await wire.until(ANSWERED)
                with suppress(ConnectionError):
                    await wire.drip(drop)

        await asyncio.gather(*(drip(start, drop) for start, drop in DROPS.values()))


async def test_a_body_that_is_late_is_answered_and_counted_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keystead.web.request_body.LONGEST_READ", 0.1)
    before = refused("slow_body")
    async with served(server, ConnectionLimits(discard=0.1)) as port, connected(port) as wire:
        await wire.send(HALF_A_BODY)
        assert b" 408 " in await wire.rest()
    assert refused("slow_body") == before + 1


async def test_an_idle_connection_is_kept_alive_and_then_closed(server: Server) -> None:
    limits = ConnectionLimits(first_byte=0.1, head=0.1, body=0.1, response=0.2, keep_alive=1.0)
    async with served(server, limits) as port, connected(port) as wire:
        for _ in range(2):
            assert b" 200 " in await wire.ask()
            await wire.stays_open(0.3)
        assert await wire.rest() == b""


async def test_keep_alive_starts_when_a_rejected_body_has_arrived(server: Server) -> None:
    async with served(server, ConnectionLimits(first_byte=0.1)) as port, connected(port) as wire:
        await wire.send(START.replace(b"json", b"text") + b"Content-Length: 9\r\n\r\n")
        assert b" 415 " in await wire.until(b"}]}")
        await wire.send(b"x" * 9)
        await wire.stays_open(0.3)
        assert b" 200 " in await wire.ask()


async def test_a_client_that_never_reads_is_aborted(server: Server) -> None:
    query = b'{"query":"{%s}"}' % (b"a" * 30_000)
    request = START + b"Content-Length: %d\r\n\r\n%s" % (len(query), query)
    before = refused("unread")
    async with served(server, ConnectionLimits(response=0.3)) as port:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.setblocking(False)
            with pytest.raises(ConnectionError):
                # Ends when the server has closed.
                async with asyncio.timeout(20):
                    await asyncio.get_running_loop().sock_sendall(client, request * 1000)
        assert refused("unread") == before + 1


async def test_the_oldest_idle_connection_is_evicted(server: Server) -> None:
    async with served(server, FEW) as port, AsyncExitStack() as stack:

        async def connect(source: str) -> Wire:
            return await stack.enter_async_context(connected(port, source))

        oldest = await connect("127.0.0.1")
        assert b" 200 " in await oldest.ask()
        used = await connect("127.0.0.2")
        others = [await connect(f"127.0.0.{n}") for n in range(3, 9)]
        assert b" 200 " in await used.ask()
        # The first is the oldest, then the silent ones: the one in use is newer.
        for number, evicted in ((9, oldest), (10, others[0])):
            assert b" 200 " in await (await connect(f"127.0.0.{number}")).ask()
            assert await evicted.rest() == b""
        assert b" 200 " in await used.ask()


@pytest.mark.parametrize(("exempt", "most", "reason"), [((), 2, "prefix_full"), (("127.0.0.1/32",), 8, "full")])
async def test_a_prefix_has_a_quarter_and_a_trusted_proxy_all(
    server: Server, exempt: tuple[str, ...], most: int, reason: str
) -> None:
    before = refused(reason)
    limits = replace(FEW, exempt=tuple(map(ip_network, exempt)))
    async with served(server, limits) as port:
        async with AsyncExitStack() as stack:
            for _ in range(most):
                wire = await stack.enter_async_context(connected(port))
                await wire.send(HALF_A_BODY)
                # The server reads this before it accepts the next connection.
                await wire.stays_open(0.02)
            got = await (await stack.enter_async_context(connected(port))).rest()
            assert got.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after:" in got
            if not exempt:
                other = await stack.enter_async_context(connected(port, "127.0.0.2"))
                assert b" 200 " in await other.ask()
        assert refused(reason) == before + 1


async def test_slots_are_released(server: Server) -> None:
    async with served(server, FEW) as port:
        for n in range(20):
            async with connected(port) as wire:
                if n % 2:
                    await wire.send(HALF_A_BODY)
                else:
                    assert b" 200 " in await wire.ask()
