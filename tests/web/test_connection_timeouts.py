"""Connections that are too many or too slow, over real sockets with lowered limits (A105 in part)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_network

import pytest
from prometheus_client import REGISTRY

from keystead.context import Server
from keystead.settings import Settings
from keystead.web.connection_limits import ConnectionLimits
from tests.api import listening
from tests.web.wire import ANSWERED, BODY, GOOD, PLAIN, START, Wire, connected

pytestmark = [
    pytest.mark.attack("A105"),
    # None of this asks a database for more than that it is there.
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

FEW = ConnectionLimits(connections=8, exempt=())
HALF_A_BODY = START + b"Content-Length: 9\r\n\r\n{"


@asynccontextmanager
async def served(server: Server, limits: ConnectionLimits) -> AsyncIterator[int]:
    """The server behind real HTTP with these limits; its port."""
    async with listening(Settings(), server, limits) as url:
        yield int(url.rpartition(":")[2])


def refused(reason: str) -> float:
    """How many connections were refused or closed for this reason."""
    return REGISTRY.get_sample_value("keystead_connections_refused_total", {"reason": reason}) or 0.0


SLOW = {
    "silent": ("silent", b""),
    "empty lines alone": ("silent", b"\r\n\r\n"),
    "half a request line": ("slow_head", b"POST /gra"),
    "half a head": ("slow_head", START),
    "half a head behind a request": ("slow_head", GOOD + START),
    "half a body": ("slow_body", HALF_A_BODY),
    "half a chunk": ("slow_body", START + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{"),
    "a body without its last chunk": ("slow_body", START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
    "half a trailer": ("slow_body", START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\na: "),
}


@pytest.mark.parametrize(("reason", "sent"), SLOW.values(), ids=list(SLOW))
async def test_a_client_that_sends_too_slowly_is_hung_up_on(server: Server, reason: str, sent: bytes) -> None:
    limits = ConnectionLimits(first_byte=0.1, head=0.1, body=0.1)
    before = refused(reason)
    async with served(server, limits) as port, connected(port) as wire:
        await wire.send(sent)
        got = await wire.rest()
        assert got.count(b"HTTP/1.1") == sent.count(GOOD)
    assert refused(reason) == before + 1


async def test_a_body_that_is_late_is_answered_and_counted_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keystead.web.request_body.LONGEST_READ", 0.1)
    before = refused("slow_body")
    async with served(server, ConnectionLimits(discard=0.1)) as port, connected(port) as wire:
        await wire.send(HALF_A_BODY)
        assert b" 408 " in await wire.rest()
    assert refused("slow_body") == before + 1


DROPS = {
    "empty lines": (b"", b"\r\n"),
    "empty lines after an answer": (GOOD, b"\r\n"),
    "a header at a time": (START, b"X: y\r\n"),
    "a byte of a name at a time": (START, b"x"),
    "a byte of a body at a time": (START + b"Content-Length: 9999\r\n\r\n", b"{"),
    "a trailer at a time": (START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"X: y\r\n"),
}


@pytest.mark.parametrize(("start", "drop"), DROPS.values(), ids=list(DROPS))
async def test_a_byte_now_and_then_wins_no_time(server: Server, start: bytes, drop: bytes) -> None:
    async with served(server, ConnectionLimits(first_byte=0.2, head=0.2, body=0.2)) as port, connected(port) as wire:
        await wire.send(start)
        if start == GOOD:
            await wire.until(ANSWERED)
        with suppress(ConnectionError):
            await wire.drip(drop)


async def test_an_idle_connection_is_kept_and_then_closed(server: Server) -> None:
    limits = ConnectionLimits(first_byte=0.1, head=0.1, body=0.1, response=0.3, keep_alive=2.0)
    async with served(server, limits) as port, connected(port) as wire:
        for _ in range(3):
            assert b" 200 " in await wire.ask()
            await wire.stays_open(0.4)
        assert await wire.rest() == b""


async def test_keep_alive_begins_again_when_a_refused_body_has_arrived(server: Server) -> None:
    limits = ConnectionLimits(first_byte=0.1)
    async with served(server, limits) as port, connected(port) as wire:
        await wire.send(START.replace(b"json", b"text") + b"Content-Length: 9\r\n\r\n")
        assert b" 415 " in await wire.until(b"}]}")
        await wire.send(b"x" * 9)
        await wire.stays_open(0.5)
        assert b" 200 " in await wire.ask()


def deaf_connection(port: int) -> socket.socket:
    """A connection of a client that sends and never reads, and whose system keeps little for it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    return client


async def test_a_client_that_never_reads_is_given_up(server: Server) -> None:
    query = b'{"query":"{%s}"}' % (b"a" * 30_000)
    request = START + b"Content-Length: %d\r\n\r\n%s" % (len(query), query)
    before = refused("unread")
    async with served(server, ConnectionLimits(response=0.3)) as port:
        client = deaf_connection(port)
        loop = asyncio.get_running_loop()
        with client, pytest.raises(ConnectionError):
            # It ends when the server has closed; no answer of these 30 KB was read.
            async with asyncio.timeout(20):
                await loop.sock_sendall(client, request * 1000)
        assert refused("unread") == before + 1


async def test_a_client_that_reads_slowly_gets_its_answers(server: Server) -> None:
    async with served(server, ConnectionLimits(response=5.0)) as port, connected(port) as wire:
        await wire.send(*[GOOD] * 200)
        for _ in range(200):
            assert b" 200 " in await wire.until(ANSWERED)


async def test_the_oldest_idle_connection_makes_room(server: Server) -> None:
    async with served(server, FEW) as port, AsyncExitStack() as stack:

        async def connect(source: str) -> Wire:
            return await stack.enter_async_context(connected(port, source))

        oldest = await connect("127.0.0.1")
        assert b" 200 " in await oldest.ask()
        used = await connect("127.0.0.2")
        others = [await connect(f"127.0.0.{n}") for n in range(3, 9)]
        assert b" 200 " in await used.ask()
        assert b" 200 " in await (await connect("127.0.0.9")).ask()
        assert await oldest.rest() == b""
        # The next oldest is one that has been silent: the one in use is newer.
        assert b" 200 " in await (await connect("127.0.0.10")).ask()
        assert await others[0].rest() == b""
        assert b" 200 " in await used.ask()


async def test_a_prefix_has_a_quarter_and_others_are_served(server: Server) -> None:
    before = refused("prefix_full")
    async with served(server, FEW) as port, AsyncExitStack() as stack:
        for _ in range(2):
            wire = await stack.enter_async_context(connected(port, "127.0.0.1"))
            await wire.send(HALF_A_BODY)
            # What is sent is there before the next connection is accepted.
            await wire.stays_open(0.02)
        third = await stack.enter_async_context(connected(port, "127.0.0.1"))
        got = await third.rest()
        assert got.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after:" in got
        other = await stack.enter_async_context(connected(port, "127.0.0.2"))
        assert b" 200 " in await other.ask()
    assert refused("prefix_full") == before + 1


async def test_a_trusted_proxy_has_all(server: Server) -> None:
    limits = replace(FEW, exempt=(ip_network("127.0.0.1/32"),))
    before = refused("full")
    async with served(server, limits) as port, AsyncExitStack() as stack:
        for _ in range(8):
            wire = await stack.enter_async_context(connected(port))
            await wire.send(HALF_A_BODY)
            await wire.stays_open(0.02)
        ninth = await stack.enter_async_context(connected(port))
        assert (await ninth.rest()).startswith(b"HTTP/1.1 503 ")
    assert refused("full") == before + 1


async def test_places_are_given_back(server: Server) -> None:
    async with served(server, FEW) as port:
        for n in range(40):
            async with connected(port) as wire:
                if n % 2:
                    await wire.send(PLAIN + b"\r\n" + BODY[:5])
                else:
                    assert b" 200 " in await wire.ask()
