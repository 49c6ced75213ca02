"""Single questions to the issuer: bounded in time and size, never led elsewhere by a redirect, without cookies."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from keystead_client.errors import NetworkError, ServerError, Timeout
from keystead_client.flow import Reply
from keystead_client.loopback import require_private_way

Transport = httpx.BaseTransport | httpx.AsyncBaseTransport
"""How requests are sent instead of over TCP: by tests, or through a proxy of one's own."""

LARGEST: Final = 64 * 1024
"""Bytes. A document of three keys has 700, the answer of ``me`` 100."""


def require_origin(name: str, url: str, *, allow_http: bool = False) -> str:
    """The URL without a slash at its end: https, or http on this very computer, or by ``allow_http``.

    :raises ValueError: for any other: what comes in clear text comes from whomever.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http"):
        raise ValueError(f"{name}: an https URL")
    require_private_way(name, url, allow_http)
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        raise ValueError(f"{name}: scheme, host and port only, as in https://id.example.com")
    return url.rstrip("/")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)

    def build(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request. No compression: the bound on the size is one on what is sent, too."""
        headers = {"accept-encoding": "identity", **self.headers}
        return client.build_request(self.method, self.url, headers=headers, content=self.body)


class Questions:
    """Asks, from threads and from event loops; connections are kept for the next question."""

    def __init__(self, transport: Transport | None, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout
        self._options: dict[str, Any] = {"timeout": timeout, "follow_redirects": False}
        self._client: httpx.Client | None = None
        # A connection belongs to the event loop it was opened on.
        self._async_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]
        self._async_clients = weakref.WeakKeyDictionary()

    def ask(self, question: Ask) -> Reply:
        """The answer, whatever its status.

        :raises NetworkError: when nobody answers; Timeout: not in time.
        :raises ServerError: when the answer is too large, or compressed.
        """
        if self._transport is not None and not isinstance(self._transport, httpx.BaseTransport):
            raise ValueError("transport: verify() needs a synchronous one; verify_async() takes this one")
        if self._client is None:
            self._client = httpx.Client(transport=self._transport, cookies=_no_cookies(), **self._options)
        until = time.monotonic() + self._timeout
        try:
            response = self._client.send(question.build(self._client), stream=True)
            try:
                _require_plain(response)
                body = b""
                for chunk in response.iter_bytes():
                    body = _longer(body, chunk)
                    if time.monotonic() > until:
                        raise Timeout("the issuer's answer takes too long", was_sent=True)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise _unreached(error) from None
        return Reply(response.status_code, response.headers, body)

    async def ask_async(self, question: Ask) -> Reply:
        """As :meth:`ask`. A transport that is synchronous alone is used in a thread."""
        if self._transport is not None and not isinstance(self._transport, httpx.AsyncBaseTransport):
            return await asyncio.to_thread(self.ask, question)
        loop = asyncio.get_running_loop()
        client = self._async_clients.get(loop)
        if client is None:
            client = httpx.AsyncClient(transport=self._transport, cookies=_no_cookies(), **self._options)
            self._async_clients[loop] = client
        try:
            async with asyncio.timeout(self._timeout):
                response = await client.send(question.build(client), stream=True)
                try:
                    _require_plain(response)
                    body = b""
                    async for chunk in response.aiter_bytes():
                        body = _longer(body, chunk)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise Timeout("the issuer does not answer in time", was_sent=True) from None
        except httpx.HTTPError as error:
            raise _unreached(error) from None
        return Reply(response.status_code, response.headers, body)

    def close(self) -> None:
        """Closes what threads have opened."""
        client, self._client = self._client, None
        if client:
            client.close()

    async def aclose(self) -> None:
        """Closes that, and what was opened on this event loop."""
        self.close()
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client:
            await client.aclose()


def _no_cookies() -> CookieJar:
    """A jar that takes none: users share these connections."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def _require_plain(response: httpx.Response) -> None:
    """Decompressing comes before any bound on the size."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ServerError("the issuer's answer is compressed, though that was not asked for")


def _longer(body: bytes, chunk: bytes) -> bytes:
    if len(body) + len(chunk) > LARGEST:
        raise ServerError("the issuer's answer is too large")
    return body + chunk


def _unreached(error: httpx.HTTPError) -> NetworkError:
    if isinstance(error, httpx.TimeoutException):
        return Timeout("the issuer does not answer in time", was_sent=not isinstance(error, httpx.ConnectTimeout))
    was_sent = not isinstance(error, httpx.ConnectError)
    return NetworkError(f"the issuer cannot be reached: {type(error).__name__}", was_sent=was_sent)
