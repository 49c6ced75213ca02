"""What a request asks for, and that nothing of it is left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from keystead_client import AsyncClient, Client, Tokens
from keystead_client.errors import ServerError

KINDS = ["thread", "task"]


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Notes that it was closed."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part

    def close(self) -> None:
        """Of a thread's."""
        self.closed += 1

    async def aclose(self) -> None:
        """Of a task's."""
        self.closed += 1


def execute(kind: str, transport: httpx.MockTransport, **options: Any) -> Any:
    async def ask() -> Any:
        async with AsyncClient("https://id.example.com", transport=transport, **options) as client:
            return await client.execute("{ up }")

    if kind == "task":
        return asyncio.run(ask())
    with Client("https://id.example.com", transport=transport, **options) as client:
        return client.execute("{ up }")


@pytest.mark.parametrize("kind", KINDS)
def test_no_compression_is_asked_for(kind: str) -> None:
    """What is decompressed is bounded by nobody before it is there."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        return httpx.Response(200, json={"data": {"up": True}})

    execute(kind, httpx.MockTransport(answer))
    assert asked == ["identity"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("headers", [{}, {"content-encoding": "gzip"}])
def test_an_answer_that_is_refused_is_closed(kind: str, headers: dict[str, str]) -> None:
    body = Body(b"{", b" " * 100)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, stream=body))
    with pytest.raises(ServerError, match="compressed" if headers else "larger"):
        execute(kind, transport, max_answer=50)
    assert body.closed


def test_what_is_interrupted_ends_at_once() -> None:
    def interrupt(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    transport = httpx.MockTransport(interrupt)
    with Client("https://id.example.com", transport=transport, tokens=Tokens("a", "b")) as client:
        with pytest.raises(KeyboardInterrupt) as caught:
            client.logout()
        # Not when the exception is forgotten: a login may have come by then.
        assert client.tokens is None
        assert caught.type is KeyboardInterrupt
