"""No server holds a client longer than its ``timeout``, or fills its memory beyond ``max_answer``."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from keystead_client import AsyncClient, Client
from keystead_client.errors import KeysteadError, ServerError, Timeout
from tests.sdk.hostile import HEAD, answering

TOTAL = 0.2
"""Seconds."""
LONG = 5.0
"""Seconds that none of it may take, on a busy computer either; the parts would take minutes."""
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWER = b'{"data": {"up": true}}'


def bytewise(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def long_head() -> Iterable[bytes]:
    return bytewise(HEAD + b"X-Filler: " + b"a" * 10_000)


def long_body() -> Iterable[bytes]:
    return itertools.chain([HEAD + b"Content-Length: 10000\r\n\r\n"], bytewise(b" " * 10_000))


def long_chunk_size() -> Iterable[bytes]:
    return itertools.chain([CHUNKED], bytewise(b"0" * 10_000))


def nothing() -> Iterable[bytes]:
    return []


def half_an_answer() -> Iterable[bytes]:
    return [HEAD + b"Content-Length: 100\r\n\r\n" + ANSWER]


def hints_without_end() -> Iterable[bytes]:
    return itertools.repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100)


def error_of(kind: str, url: str, variables: dict[str, Any] | None = None, **options: Any) -> tuple[Any, float]:
    """What a client of that kind raises, and how many seconds it takes."""
    options = {"retries": 0, "timeout": TOTAL, **options}

    async def ask() -> None:
        async with AsyncClient(url, **options) as client:
            await client.execute("query ($a: String) { up(a: $a) }", variables)

    def ask_from_thread() -> None:
        with Client(url, **options) as client:
            client.execute("query ($a: String) { up(a: $a) }", variables)

    began = time.monotonic()
    with pytest.raises(KeysteadError) as caught:
        asyncio.run(ask()) if kind == "task" else ask_from_thread()
    return caught.value, time.monotonic() - began


KINDS = pytest.mark.parametrize("kind", ["task", "thread"])


@KINDS
@pytest.mark.parametrize("parts", [nothing, half_an_answer, long_head, long_body, long_chunk_size, hints_without_end])
def test_the_timeout_is_for_the_whole_request(parts: Callable[[], Iterable[bytes]], kind: str) -> None:
    # Each byte comes in time; all of them together do not.
    pause = 0.0 if parts is hints_without_end else TOTAL / 10
    with answering(parts, pause) as url:
        error, seconds = error_of(kind, url)
    assert isinstance(error, Timeout)
    assert seconds < LONG


@KINDS
def test_what_was_cut_off_may_have_run(kind: str) -> None:
    with answering(half_an_answer) as url:
        error, _ = error_of(kind, url, timeout=3 * TOTAL)
    assert error.was_sent


@KINDS
def test_a_server_that_does_not_read_is_given_up(kind: str) -> None:
    with answering(nothing, reads=False) as url:
        error, seconds = error_of(kind, url, {"a": "a" * 20_000_000})
    assert isinstance(error, Timeout)
    assert seconds < LONG


@KINDS
@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"Content-Length: 5000\r\n\r\n" + b" " * 5000],
        [CHUNKED, *[b"400\r\n" + b" " * 1024 + b"\r\n"] * 5],
        [HEAD + b"\r\n" + b" " * 5000],
    ],
    ids=["announced", "chunked", "until the end"],
)
def test_an_answer_that_is_too_large_is_not_read_to_its_end(parts: list[bytes], kind: str) -> None:
    with answering(lambda: parts) as url:
        error, _ = error_of(kind, url, max_answer=4096, timeout=30)
    assert type(error) is ServerError
    assert "larger than 4096 bytes" in error.message
    assert (error.status, error.was_executed) == (200, True)


@KINDS
def test_a_compressed_answer_is_not_unpacked(kind: str) -> None:
    """A thousand bytes would become a million: nothing compressed was asked for."""
    bomb = gzip.compress(b" " * 1_000_000)
    head = HEAD + b"Content-Encoding: identity, gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with answering(lambda: [head + bomb]) as url:
        error, _ = error_of(kind, url, timeout=30)
    assert type(error) is ServerError
    assert "compressed" in error.message


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": float("inf")}, {"timeout": -1}, {"max_answer": 0}])
def test_bounds_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Client("https://id.example.com", **options)
