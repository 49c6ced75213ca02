"""Size limits of a request, enforced before the application is called (A13, A105 in part)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from keystead.web.connection_limits import ConnectionLimits
from tests.web.wire import ANSWERED, BODY, CHUNKED, GOOD, PLAIN, START, answer, statuses

# None of this asks a database for more than that it is there.
pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

MOST = ConnectionLimits().headers
LARGEST = ConnectionLimits().head_bytes


ARRIVALS: dict[str, Callable[[bytes], list[bytes]]] = {
    "one packet": lambda head: [head],
    "in parts": lambda head: [head[at : at + 1400] for at in range(0, len(head), 1400)],
    "name and value apart": lambda head: [
        line for part in head.partition(b":") for line in part.splitlines(keepends=True)
    ],
    "HTTP/1.0": lambda head: [head.replace(b"HTTP/1.1", b"HTTP/1.0", 1)],
    "pipelined": lambda head: [GOOD + head],
    "pipelined twice": lambda head: [GOOD + GOOD + head],
    "after an empty line": lambda head: [b"\r\n" + head],
}
PLAIN_HEADERS = PLAIN.count(b"\r\n") - 1

EXCESSES = {
    "one header too many": PLAIN + b"X-A: b\r\n" * (MOST + 1 - PLAIN_HEADERS) + b"\r\n",
    "2,000 of one name": PLAIN + b"X-A: b\r\n" * 2000 + b"\r\n",
    "16,000 of one letter": PLAIN + b"a:\r\n" * 16_000 + b"\r\n",
    "a value of 60 KB": PLAIN + b"X-A: " + b"a" * 60_000 + b"\r\n\r\n",
    "a value of one byte too many": PLAIN + b"X-A: " + b"a" * (LARGEST + 1 - len(PLAIN) - 9) + b"\r\n\r\n",
    "a name of 60 KB": PLAIN + b"a" * 60_000 + b": b\r\n\r\n",
    "60 KB of white space": PLAIN + b"X-A:" + b" " * 60_000 + b"b\r\n\r\n",
    "a query of 60 KB": PLAIN.replace(b"/graphql", b"/graphql?" + b"a" * 60_000, 1) + b"\r\n",
    "a path of 60 KB": PLAIN.replace(b"/graphql", b"/" + b"a" * 60_000, 1) + b"\r\n",
    "40 values of 1 KB": PLAIN + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(40)) + b"\r\n",
}


@pytest.mark.attack("A105")
async def test_a_head_is_limited_however_it_arrives(port: int) -> None:
    for (name, excess), (arrival, arrive) in product(EXCESSES.items(), ARRIVALS.items()):
        got = await answer(port, *arrive(excess + BODY))
        before = {"pipelined": 1, "pipelined twice": 2}.get(arrival, 0)
        assert statuses(got) == [200] * before + [431], (name, arrival)
        assert b"connection: close" in got


async def test_a_head_of_exactly_the_limit_passes(port: int) -> None:
    close = b"Connection: close\r\n"
    many = PLAIN + close + b"X-A: b\r\n" * (MOST - 1 - PLAIN_HEADERS) + b"\r\n"
    large = PLAIN + close + b"X-A: "
    large += b"a" * (LARGEST - len(large) - 4) + b"\r\n\r\n"
    assert len(large) == LARGEST
    for head, arrive in product((many, large), ARRIVALS.values()):
        assert set(statuses(await answer(port, *arrive(head + BODY)))) == {200}


@pytest.mark.attack("A13")
@pytest.mark.parametrize(
    "start",
    [PLAIN + b"Authorization: ", b"POST /graphql?", PLAIN + b"X-", b"\r\n\r\n"],
    ids=["one value", "the request line", "a name", "nothing yet"],
)
async def test_a_head_without_end_is_431_and_not_kept(port: int, start: bytes) -> None:
    filler = b"\r\n" if start.endswith(b"\n\r\n") else b"aa"
    got = await answer(port, start, *[filler * 512] * 200)
    assert got.startswith(b"HTTP/1.1 431 ")
    assert b"connection: close" in got


async def test_many_requests_on_one_connection_are_not_one_large_head(port: int) -> None:
    request = PLAIN + b"X-Filler: %s\r\n\r\n" % (b"a" * 20_000) + BODY
    got = await answer(port, *[request] * 5, PLAIN + b"Connection: close\r\n\r\n" + BODY)
    assert got.count(b"HTTP/1.1 200") == 6


async def test_a_trailer_is_no_header(port: int) -> None:
    for name in (b"Authorization", b"x-api-key", b"X-Forwarded-For", b"Origin"):
        got = await answer(port, CHUNKED + name + b": forged\r\n\r\n", until=ANSWERED)
        assert got.startswith(b"HTTP/1.1 200 "), name
    got = await answer(port, CHUNKED + b"a: b\r\n" * MOST + b"\r\n", until=ANSWERED)
    assert got.startswith(b"HTTP/1.1 200 ")


async def test_trailers_are_limited_like_headers(port: int) -> None:
    for excess in (b"a: b\r\n" * (MOST + 1), b"a:\r\n" * 16_000, b"a: %s\r\n" % (b"a" * 40_000)):
        for end in (b"\r\n", b"b: "):
            got = await answer(port, CHUNKED + excess + end)
            assert got.startswith(b"HTTP/1.1 431 ")
            assert b'"up"' not in got


async def test_trailers_too_many_write_nothing_into_the_answer_before(port: int) -> None:
    got = await answer(port, GOOD + CHUNKED + b"a: b\r\n" * 200 + b"\r\n")
    assert got == b"" or got.startswith(b"HTTP/1.1 200 ")
    assert b" 431 " not in got or got.index(b" 431 ") > got.index(ANSWERED)


async def test_invalid_http_is_400_and_closes_the_connection(port: int) -> None:
    for junk in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"POST /graphql\0", b"{}\r\n\r\n"):
        assert statuses(await answer(port, junk + b"x" * 100_000)) == [400]


async def test_nothing_is_served_after_a_rejected_or_a_closing_request(port: int) -> None:
    close = START + b"Connection: close\r\nContent-Length: 70000\r\n\r\n"
    for first, status in (
        (PLAIN + b"X-A: b\r\n" * 200 + b"\r\n" + BODY, 431),
        (close + b"x" * 70_000, 413),
        (close.replace(b"HTTP/1.1", b"HTTP/1.0") + b"x" * 70_000, 413),
    ):
        assert statuses(await answer(port, first + GOOD * 3)) == [status]
