"""The server inside this process: no socket, no HTTP parser, the rest of the path as it is."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from keystead.settings import load_settings
from keystead.web import logs
from keystead.web.app import Application

_PLAIN = [(b"content-type", b"application/json")]


class Caller:
    """Posts GraphQL to an application, straight through ASGI."""

    def __init__(self, application: Application, headers: Mapping[str, str] | None = None) -> None:
        self._application = application
        self._headers = [
            *_PLAIN,
            *((name.lower().encode(), value.encode()) for name, value in (headers or {}).items()),
        ]

    def with_headers(self, **headers: str) -> Caller:
        """The same application, with other headers."""
        return Caller(self._application, {name.replace("_", "-"): value for name, value in headers.items()})

    async def post(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The ``data`` of the answer; anything but a plain success raises."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        answer = json.loads(await self.raw(body))
        if "errors" in answer:
            raise RuntimeError(answer)
        return answer["data"]

    async def raw(self, body: bytes) -> bytes:
        """The bytes of the answer."""
        chunks: list[bytes] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: MutableMapping[str, Any]) -> None:
            chunks.append(message.get("body", b""))

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/graphql",
            "headers": self._headers,
            "client": ("127.0.0.1", 1),
        }
        await self._application(scope, receive, send)
        return b"".join(chunks)


@asynccontextmanager
async def application(environ: Mapping[str, str]) -> AsyncIterator[Application]:
    """An open application on the database that ``environ`` names."""
    settings = load_settings(environ)
    logs.configure(settings)
    opened = Application(settings)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


async def microseconds(caller: Caller, body: bytes, rounds: int = 5, calls: int = 1000) -> float:
    """What one call costs: the best round of several, in µs."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(calls):
            await caller.raw(body)
        best = min(best, (time.perf_counter() - started) / calls)
    return best * 1e6
