"""Single questions to the issuer: bounded in time and size, never led elsewhere by a redirect, without cookies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx

from keystead_client.flow import Reply
from keystead_client.loopback import require_private_way, split
from keystead_client.per_loop import AsyncClients
from keystead_client.sending import Bounds, open_client, send, send_async

Transport = httpx.BaseTransport | httpx.AsyncBaseTransport
"""How requests are sent instead of over TCP: by tests, or through a proxy of one's own."""

LARGEST: Final = 64 * 1024
"""Bytes. A document of three keys has 700, the answer of ``me`` 100."""


def require_origin(name: str, url: str, *, allow_http: bool = False) -> str:
    """The URL without slashes at its end: https, or http on this very computer, or by ``allow_http``.

    :raises ValueError: for any other: what comes in clear text comes from whomever.
    """
    parts = split(url)
    if parts.scheme not in ("https", "http"):
        raise ValueError(f"{name}: an https URL")
    require_private_way(name, url, allow_http)
    origin = url.rstrip("/")
    # Letter by letter, as tokens name it. An empty query, which urlsplit does not tell, would make it nobody's.
    is_whole = origin.lower() == f"{parts.scheme}://{parts.netloc}".lower()
    if not is_whole or not parts.hostname or "@" in origin or origin.endswith(":"):
        raise ValueError(f"{name}: scheme, host and port only, as in https://id.example.com")
    return origin


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)

    def build(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request."""
        return client.build_request(self.method, self.url, headers=self.headers, content=self.body)


class Questions:
    """Asks, from threads and from event loops; connections are kept for the next question."""

    def __init__(self, transport: Transport | None, timeout: float) -> None:
        self._transport = transport
        self._bounds = Bounds(timeout, LARGEST)
        self._client: httpx.Client | None = None
        self._async_clients = AsyncClients(
            transport if isinstance(transport, httpx.AsyncBaseTransport) else None, self._bounds
        )

    def ask(self, question: Ask) -> Reply:
        """The answer, whatever its status.

        :raises NetworkError: when nobody answers; Timeout: not in time.
        :raises ServerError: when the answer is too large, or compressed.
        """
        if self._transport is not None and not isinstance(self._transport, httpx.BaseTransport):
            raise ValueError("transport: verify() needs a synchronous one; verify_async() takes this one")
        if self._client is None:
            self._client = open_client(self._transport, self._bounds)
        return send(self._client, question.build(self._client), self._bounds)

    async def ask_async(self, question: Ask) -> Reply:
        """As :meth:`ask`. A transport that is synchronous alone is used in a thread."""
        if self._transport is not None and not isinstance(self._transport, httpx.AsyncBaseTransport):
            return await asyncio.to_thread(self.ask, question)
        client = self._async_clients.here
        return await send_async(client, question.build(client), self._bounds)

    def close(self) -> None:
        """Closes what threads have opened."""
        client, self._client = self._client, None
        if client:
            client.close()

    async def aclose(self) -> None:
        """Closes that, and what was opened on this event loop."""
        self.close()
        await self._async_clients.close()
