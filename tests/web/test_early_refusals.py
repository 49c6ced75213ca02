"""A request rejected before its body is read: the body is discarded, so that the client can read the response."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from keystead.context import Server
from keystead.settings import Settings
from keystead.web.app import Application
from keystead.web.connection_limits import ConnectionLimits
from keystead.web.pages.endpoint import KINDS, STYLE_PATH
from tests.api import listening
from tests.web.wire import ANSWERED, GOOD, answer, connected

pytestmark = [
    pytest.mark.attack("A105"),
    # None of this asks a database for more than that it is there.
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]

SETTINGS = Settings(graphiql=True, mailbox=True)
LARGE = 900_000
PATHS = sorted(
    {"/graphql", "/nowhere", "/link/nowhere", STYLE_PATH, *KINDS}
    | {getattr(route, "path", "") for route in Application(SETTINGS)._routes.routes} - {""}
)
WAYS = {
    "HTTP/1.0": (b"HTTP/1.0", b""),
    "close": (b"HTTP/1.1", b"Connection: close\r\n"),
    "keep-alive": (b"HTTP/1.1", b""),
}


def head(start: str, *headers: str, way: str = "HTTP/1.0", length: int = LARGE) -> bytes:
    version, connection = WAYS[way]
    lines = "".join(f"{line}\r\n" for line in ("Host: auth.example.com", *headers))
    body = f"Content-Length: {length}\r\n" if length >= 0 else "Transfer-Encoding: chunked\r\n"
    return b"%s %s\r\n%s%s%s\r\n" % (start.encode(), version, lines.encode(), connection, body.encode())


def is_whole(got: bytes) -> bool:
    """Whether the response is complete."""
    before, _, body = got.partition(b"\r\n\r\n")
    length = next(line for line in before.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) == int(length.partition(b":")[2])


async def test_a_rejection_is_complete_on_every_path(port: int) -> None:
    assert len(PATHS) > 10
    for path, method, way in product(PATHS, ("POST", "PUT"), ("HTTP/1.0", "close")):
        got = await answer(port, head(f"{method} {path}", way=way), b"x" * LARGE)
        assert got.startswith(b"HTTP/1.1 4"), (path, method, way)
        assert is_whole(got)


JSON, FORM = "Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded"
STATUSES = {
    "413 of a declared length": ("POST /graphql", [JSON], 413), "413 of a form": ("POST /link/verify", [FORM], 413),
    "404": ("POST /nowhere", [JSON], 404), "404 of a page": ("POST /link/nowhere", [FORM], 404),
    "405": ("PUT /graphql", [JSON], 405), "405 of a page": ("PUT /link/verify", [FORM], 405),
    "415": ("POST /graphql", ["Content-Type: text/plain"], 415),
    "415 of an encoding": ("POST /graphql", [JSON, "Content-Encoding: gzip"], 415),
    "415 of a page": ("POST /link/verify", [JSON], 415),
    "403 of another site's form": ("POST /link/verify", [FORM, "Sec-Fetch-Site: cross-site"], 403),
    "431 of many headers": ("POST /graphql", [JSON, *["X-A: b"] * 200], 431),
    "431 of a large head": ("POST /graphql", [JSON, "X-A: " + "b" * 40_000], 431),
    "400 of a header": ("POST /graphql", [JSON, "no header"], 400),
    "400 of a length": ("POST /graphql", [JSON, "Content-Length: x"], 400),
}  # fmt: skip


async def test_every_rejection_can_be_read_also_of_a_body_that_turns_out_too_large(port: int) -> None:
    for (name, (start, headers, status)), way in product(STATUSES.items(), WAYS):
        async with connected(port) as wire:
            # The body is on its way before anything is read, as nginx sends it.
            await wire.send(head(start, *headers, way=way), b"x" * LARGE)
            got = await wire.until(b"\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 %d " % status), (name, way)
            if b"connection: close" in got:
                await wire.rest()
            else:
                await wire.send(GOOD)
                assert b" 200 " in await wire.until(ANSWERED)
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    opening = head("POST /graphql", JSON, way="close", length=-1)
    got = await answer(port, opening, *[chunk] * 14, b"0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 413 ")
    assert is_whole(got)


@pytest.mark.parametrize("way", WAYS)
async def test_the_rejection_does_not_wait_for_the_body(server: Server, way: str) -> None:
    async with (
        listening(SETTINGS, server, ConnectionLimits(discard=60)) as url,
        connected(int(url.rpartition(":")[2])) as wire,
    ):
        await wire.send(head("POST /graphql", JSON, way=way))
        assert (await wire.until(b"}]}")).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("way", WAYS)
async def test_the_body_is_discarded_for_a_limited_time(server: Server, way: str) -> None:
    async with (
        listening(SETTINGS, server, ConnectionLimits(discard=0.2)) as url,
        asyncio.timeout(10),
        connected(int(url.rpartition(":")[2])) as wire,
    ):
        await wire.send(head("POST /graphql", JSON, way=way), b"x")
        with pytest.raises(ConnectionError):
            await wire.drip(b"x")
            # It has ended its side. Ours ends when it stops to read.
            while True:
                await wire.send(b"x" * 1000)
                await asyncio.sleep(0)


async def test_no_more_than_a_mebibyte_is_discarded(port: int) -> None:
    for start, way in product(("POST /graphql", "POST /nowhere", "no HTTP"), WAYS):
        sent = 0
        async with connected(port) as wire:
            with pytest.raises(ConnectionError):
                await wire.send(head(start, JSON, way=way, length=100_000_000))
                for _ in range(4000):
                    await wire.send(b"x" * 16_384)
                    sent += 16_384
                    await asyncio.sleep(0)
        # The kernel's buffers on both sides come on top of it.
        assert sent < 16 * 1024 * 1024, (start, way)


async def test_a_rejected_request_that_expects_100_continue_ends_the_connection(port: int) -> None:
    """The client may omit the body then: the next bytes would be ambiguous."""
    for way in WAYS:
        got = await answer(port, head("POST /graphql", JSON, "Expect: 100-continue", way=way))
        assert got.startswith(b"HTTP/1.1 413 "), way
        assert is_whole(got)
