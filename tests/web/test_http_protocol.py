"""What arrives over a socket is bounded before the application is asked (A13 in part)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from keystead.context import Server
from keystead.settings import Settings
from keystead.web import http_protocol
from keystead.web.http_protocol import LARGEST_HEAD
from tests.api import listening

BODY = b'{"query":"{ health { data { up } } }"}'
HEAD = b"POST /graphql HTTP/1.1\r\nHost: auth.example.com\r\nContent-Type: application/json\r\n"
PLAIN = HEAD + b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    async with listening(Settings(), server) as url:
        yield int(url.rpartition(":")[2])


async def answer(port: int, *parts: bytes, until: bytes = b"") -> bytes:
    """What comes back for ``parts``, up to ``until`` or the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await (reader.readuntil(until) if until else reader.read())
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_large_head_is_read(port: int) -> None:
    filler = b"X-Filler: %s\r\n" % (b"a" * (LARGEST_HEAD - 1024))
    assert (await answer(port, PLAIN, filler, b"\r\n", BODY, until=b"}}}}")).startswith(b"HTTP/1.1 200")


@pytest.mark.attack("A13")
@pytest.mark.parametrize(
    "start",
    [PLAIN + b"Authorization: ", b"POST /graphql?", PLAIN + b"X-"],
    ids=["one value", "the request line", "a name"],
)
async def test_a_head_without_end_is_431_and_not_kept(port: int, start: bytes) -> None:
    # The chunks stop at the first byte too many: a connection closed while more is on its way is reset.
    got = await answer(port, start, b"a" * (LARGEST_HEAD - len(start)), b"a")
    assert got.startswith(b"HTTP/1.1 431 ")
    assert b"connection: close" in got


async def test_many_requests_on_one_connection_are_not_one_large_head(port: int) -> None:
    request = PLAIN + b"X-Filler: %s\r\n\r\n" % (b"a" * 20_000) + BODY
    got = await answer(port, *[request] * 5, PLAIN + b"Connection: close\r\n\r\n" + BODY)
    assert got.count(b"HTTP/1.1 200") == 6


async def test_what_follows_a_refused_head_is_thrown_away_up_to_a_bound(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "LARGEST_REST", 200_000)
    endless = HEAD + b"Content-Length: 100000000\r\n\r\n"
    got = await answer(port, endless, b" " * 150_000, until=b"\r\n")
    assert got.startswith(b"HTTP/1.1 413 ")
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(ConnectionError):
        writer.write(endless)
        for _ in range(1000):
            writer.write(b" " * 65_536)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("name", [b"Authorization", b"x-api-key", b"X-Forwarded-For", b"Origin"])
async def test_a_trailer_is_no_header(port: int, name: bytes) -> None:
    got = await answer(port, CHUNKED + name + b": forged\r\n\r\n", until=b"}}}}")
    assert got.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "parts",
    [(), (HEAD,), (PLAIN + b"\r\n" + BODY[:5],), (HEAD.replace(b"json", b"text") + b"Content-Length: 9\r\n\r\n",)],
    ids=["nothing", "half a head", "half a body", "half a body, refused already"],
)
async def test_a_request_that_never_ends_is_hung_up_on(
    server: Server, parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "LONGEST_REQUEST", 0.2)
    async with listening(Settings(), server) as url, asyncio.timeout(5):
        got = await answer(int(url.rpartition(":")[2]), *parts)
    assert b" 200 " not in got


async def test_an_idle_connection_is_not_a_request_that_never_ends(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "LONGEST_REQUEST", 0.05)
    async with listening(Settings(), server) as url, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        for _ in range(3):
            writer.write(PLAIN + b"\r\n" + BODY)
            assert b" 200 " in await reader.readuntil(b"}}}}")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
        writer.close()
