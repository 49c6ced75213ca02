"""Requests that arrive before the answers to those before them, garbage behind them, and unwanted upgrades."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import product

import pytest
from prometheus_client import REGISTRY

from keystead.context import Server
from keystead.settings import Settings
from keystead.web.connection_limits import ConnectionLimits
from tests.api import listening
from tests.web.wire import ANSWERED, BODY, CHUNKED, GOOD, PLAIN, START, answer, connected

# None of this asks a database for more than that it is there.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MOST = ConnectionLimits().pipelined
TINY = b"GET / HTTP/1.1\r\n\r\n"
CLOSE = PLAIN + b"Connection: close\r\n\r\n" + BODY


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    async with listening(Settings(), server) as url:
        yield int(url.rpartition(":")[2])


def refused(reason: str) -> float:
    """How many connections were refused or closed for this reason."""
    return REGISTRY.get_sample_value("keystead_connections_refused_total", {"reason": reason}) or 0.0


def statuses(got: bytes) -> list[bytes]:
    """Those of the answers, in their order."""
    return [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("parts", [1, 7, 200])
async def test_pipelined_requests_are_answered_in_their_order(port: int, parts: int) -> None:
    small = TINY.replace(b"\r\n\r\n", b"\r\nHost: auth.example.com\r\nUser-Agent: %s\r\n\r\n" % (b"x" * 80))
    kinds = (GOOD, small, CHUNKED + b"\r\n", START.replace(b"json", b"text") + b'Content-Length: 9\r\n\r\n{"a": 12}')
    sent = b"".join(kinds * 20) + CLOSE
    size = len(sent) // parts + 1
    got = await answer(port, *[sent[at : at + size] for at in range(0, len(sent), size)])
    assert statuses(got) == [b"200", b"404", b"200", b"415"] * 20 + [b"200"]


async def test_large_pipelined_requests_are_answered(port: int) -> None:
    filler = b'{"query":"{ health { data { up } } }", "x": "%s"}' % (b"x" * 40_000)
    large = START + b"Content-Length: %d\r\n\r\n%s" % (len(filler), filler)
    assert statuses(await answer(port, large * 20 + CLOSE)) == [b"200"] * 21


@pytest.mark.attack("A105")
async def test_tiny_requests_in_one_packet_are_bounded(port: int) -> None:
    before = refused("pipeline")
    got = await answer(port, TINY * 13_900)
    assert statuses(got) == [b"404"] * (MOST + 1) + [b"400"]
    assert refused("pipeline") == before + 1


@pytest.mark.attack("A105")
async def test_what_waits_unparsed_is_bounded(server: Server) -> None:
    before = refused("pipeline")
    async with listening(Settings(), server, ConnectionLimits(unparsed_bytes=50_000)) as url:
        port = int(url.rpartition(":")[2])
        async with connected(port) as wire:
            wire.writer.write(GOOD * 2000)
            got = await wire.rest()
        assert set(statuses(got)) == {b"200", b"400"}
        assert statuses(got)[-1] == b"400"
        assert refused("pipeline") == before + 1
        # The bytes that were held are given back.
        assert statuses(await answer(port, GOOD * 200 + CLOSE)) == [b"200"] * 201


GARBAGE = {
    "a NUL": b"\0garbage\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\n\r\n",
    "a bad header": START + b"a b: c\r\n\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=list(GARBAGE))
async def test_garbage_behind_requests_leaves_them_their_answers(port: int, garbage: bytes) -> None:
    for many in (1, 2, 30):
        before = refused("not_http")
        got = await answer(port, GOOD * many + garbage + GOOD)
        assert statuses(got) == [b"200"] * many + [b"400"]
        assert refused("not_http") == before + 1


@pytest.mark.parametrize("before", [0, 1, 2, 30])
async def test_garbage_in_a_body_refuses_that_request(port: int, before: int) -> None:
    bad = START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\nx\r\n"
    assert statuses(await answer(port, GOOD * before + bad + GOOD)) == [b"200"] * before + [b"400"]


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
UPGRADES = {
    "h2c": GOOD.replace(b"Host:", H2C + b"Host:"),
    "h2c, chunked": CHUNKED.replace(b"Host:", H2C + b"Host:") + b"\r\n",
    "websocket": GOOD.replace(b"Host:", b"Connection: Upgrade\r\nUpgrade: websocket\r\nHost:"),
    "several": GOOD.replace(b"Host:", b"connection: keep-alive, UPGRADE\r\nUpgrade: a/1\r\nupgrade: b\r\nHost:"),
}


@pytest.mark.parametrize("request_", UPGRADES.values(), ids=list(UPGRADES))
async def test_an_upgrade_that_is_not_wanted_is_ignored(
    port: int, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    head, end, body = request_.partition(b"\r\n\r\n")
    for before, behind in product((b"", GOOD), (b"", GOOD, request_)):
        many = bool(before) + 1 + bool(behind)
        for parts in (
            [before + request_ + behind + CLOSE],
            [before + head[:40], head[40:] + end, body + behind + CLOSE],
        ):
            async with connected(port) as wire:
                for part in parts:
                    await wire.send(part)
                    for _ in range(5):
                        # The server reads this part by itself.
                        await asyncio.sleep(0)
                assert statuses(await wire.rest()) == [b"200"] * (many + 1)
    assert not caplog.records


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
@pytest.mark.parametrize("connection", [b"Upgrade", b"close, Upgrade"])
async def test_an_upgrade_on_a_connection_that_will_close_is_ignored(
    port: int, version: bytes, connection: bytes
) -> None:
    request = GOOD.replace(b"HTTP/1.1", version).replace(
        b"Host:", b"Connection: %s\r\nUpgrade: h2c\r\nHost:" % connection
    )
    last = b"" if version == b"HTTP/1.0" or b"close" in connection else CLOSE
    for parts in ([request + last], [request[:40], request[40:] + last]):
        got = await answer(port, *parts)
        assert statuses(got) == [b"200"] * (1 + bool(last))


@pytest.mark.parametrize("line", [b"CONNECT auth.example.com:443 HTTP/1.1", b"PRI * HTTP/2.0"])
@pytest.mark.parametrize("header", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
async def test_a_protocol_that_is_not_served_is_400(port: int, line: bytes, header: bytes) -> None:
    got = await answer(port, line + b"\r\nHost: auth.example.com\r\n" + header + b"\r\nSM\r\n\r\n" + GOOD)
    assert statuses(got) == [b"400"]


async def test_an_upgrade_has_no_larger_head(port: int) -> None:
    for excess in (b"X-A: b\r\n" * 200, b"X-A: %s\r\n" % (b"a" * 40_000)):
        got = await answer(port, GOOD.replace(b"Host:", H2C + excess + b"Host:") + GOOD)
        assert statuses(got) == [b"431"]


async def test_a_client_that_sends_on_reads_its_answers(port: int) -> None:
    async with connected(port) as wire:
        await wire.send(GOOD * 50)
        for _ in range(50):
            assert b" 200 " in await wire.until(ANSWERED)
        assert b" 200 " in await wire.ask()
