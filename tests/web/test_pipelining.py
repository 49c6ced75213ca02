"""Pipelined requests, invalid data after them, and upgrades, which are ignored."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from keystead.context import Server
from keystead.settings import Settings
from keystead.web.connection_limits import ConnectionLimits
from tests.api import listening
from tests.web.wire import ANSWERED, BODY, CHUNKED, GOOD, PLAIN, START, answer, connected, refused, statuses

# None of this asks a database for more than that it is there.
pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

MOST = ConnectionLimits().pipelined
TINY = b"GET / HTTP/1.1\r\n\r\n"
CLOSE = PLAIN + b"Connection: close\r\n\r\n" + BODY


async def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    small = TINY.replace(b"\r\n\r\n", b"\r\nHost: auth.example.com\r\nUser-Agent: %s\r\n\r\n" % (b"x" * 80))
    kinds = (GOOD, small, CHUNKED + b"\r\n", START.replace(b"json", b"text") + b'Content-Length: 9\r\n\r\n{"a": 12}')
    sent = b"".join(kinds * 20) + CLOSE
    for parts in (1, 7, 200):
        size = len(sent) // parts + 1
        got = await answer(port, *[sent[at : at + size] for at in range(0, len(sent), size)])
        assert statuses(got) == [200, 404, 200, 415] * 20 + [200]
    filler = b'{"query":"{ health { data { up } } }", "x": "%s"}' % (b"x" * 40_000)
    large = START + b"Content-Length: %d\r\n\r\n%s" % (len(filler), filler)
    assert statuses(await answer(port, large * 20 + CLOSE)) == [200] * 21


@pytest.mark.attack("A105")
async def test_the_number_of_pipelined_requests_is_limited(port: int) -> None:
    before = refused("pipeline")
    got = await answer(port, TINY * 13_900)
    assert statuses(got) == [404] * (MOST + 1) + [400]
    assert refused("pipeline") == before + 1


@pytest.mark.attack("A105")
async def test_unparsed_bytes_are_limited(server: Server) -> None:
    before = refused("pipeline")
    async with listening(Settings(), server, ConnectionLimits(unparsed_bytes=50_000)) as url:
        port = int(url.rpartition(":")[2])
        async with connected(port) as wire:
            wire.writer.write(GOOD * 2000)
            got = await wire.rest()
        assert set(statuses(got)) == {200, 400}
        assert statuses(got)[-1] == 400
        assert refused("pipeline") == before + 1
        # The bytes that were held are given back.
        assert statuses(await answer(port, GOOD * 200 + CLOSE)) == [200] * 201


async def test_requests_before_invalid_data_are_answered(port: int) -> None:
    nul, version, header = b"\0garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", START + b"a b: c\r\n\r\n"
    for garbage, many in product((nul, version, header), (1, 2, 30)):
        before = refused("not_http")
        got = await answer(port, GOOD * many + garbage + GOOD)
        assert statuses(got) == [200] * many + [400]
        assert refused("not_http") == before + 1
    bad = START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\nx\r\n"
    for before in (0, 1, 2, 30):
        assert statuses(await answer(port, GOOD * before + bad + GOOD)) == [200] * before + [400]


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
UPGRADES = {
    "h2c": GOOD.replace(b"Host:", H2C + b"Host:"),
    "h2c, chunked": CHUNKED.replace(b"Host:", H2C + b"Host:") + b"\r\n",
    "websocket": GOOD.replace(b"Host:", b"Connection: Upgrade\r\nUpgrade: websocket\r\nHost:"),
    "several": GOOD.replace(b"Host:", b"connection: keep-alive, UPGRADE\r\nUpgrade: a/1\r\nupgrade: b\r\nHost:"),
}


@pytest.mark.parametrize("request_", UPGRADES.values(), ids=list(UPGRADES))
async def test_an_upgrade_is_ignored(port: int, request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
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
                        # Let the server read this part separately.
                        await asyncio.sleep(0)
                assert statuses(await wire.rest()) == [200] * (many + 1)
    assert not caplog.records


async def test_an_upgrade_on_a_closing_connection_is_ignored(port: int) -> None:
    for version, connection in product((b"HTTP/1.0", b"HTTP/1.1"), (b"Upgrade", b"close, Upgrade")):
        header = b"Connection: %s\r\nUpgrade: h2c\r\nHost:" % connection
        request = GOOD.replace(b"HTTP/1.1", version).replace(b"Host:", header)
        last = b"" if version == b"HTTP/1.0" or b"close" in connection else CLOSE
        for parts in ([request + last], [request[:40], request[40:] + last]):
            assert statuses(await answer(port, *parts)) == [200] * (1 + bool(last))


async def test_an_unsupported_protocol_is_400(port: int) -> None:
    for line in (b"CONNECT auth.example.com:443 HTTP/1.1", b"PRI * HTTP/2.0"):
        for header in (b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"):
            head = line + b"\r\nHost: auth.example.com\r\n" + header
            assert statuses(await answer(port, head + b"\r\nSM\r\n\r\n" + GOOD)) == [400]


async def test_an_upgrade_has_no_larger_head(port: int) -> None:
    for excess in (b"X-A: b\r\n" * 200, b"X-A: %s\r\n" % (b"a" * 40_000)):
        got = await answer(port, GOOD.replace(b"Host:", H2C + excess + b"Host:") + GOOD)
        assert statuses(got) == [431]


async def test_a_client_that_sends_on_reads_its_answers(port: int) -> None:
    async with connected(port) as wire:
        await wire.send(*[GOOD] * 200)
        for _ in range(200):
            assert b" 200 " in await wire.until(ANSWERED)
        assert b" 200 " in await wire.ask()
