"""One request and all of its answer over httpx: bounded in time and in size, led nowhere else, without cookies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import isfinite
from typing import Any

import httpx

from keystead_client.errors import NetworkError, ServerError, Timeout
from keystead_client.flow import Reply
from keystead_client.punctual import PunctualTransport, within
from keystead_client.reasons import reason

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request may take. ``seconds``: from its first step to the last byte of the answer, at most; half of them
    until there is a connection. ``largest``: bytes of the answer's body. Raises ``ValueError`` for what bounds nothing.
    """

    seconds: float
    largest: int

    def __post_init__(self) -> None:
        if not (isfinite(self.seconds) and self.seconds > 0):
            raise ValueError("timeout: a number of seconds above 0")
        if self.largest <= 0:
            raise ValueError("max_answer: a number of bytes above 0")

    @property
    def phases(self) -> httpx.Timeout:
        """For each step by itself. A connection that is not made in half the time is known not to have carried
        anything, and so may be tried again; once the whole time is over, nobody knows."""
        return httpx.Timeout(self.seconds, connect=self.seconds / 2, pool=self.seconds / 2)


class NoFreeConnection(Timeout):
    """All connections were in use for too long. That is this program's own doing, and says nothing of the server."""


def open_client(transport: httpx.BaseTransport | None, bounds: Bounds) -> httpx.Client:
    """For threads."""
    verified = transport or PunctualTransport(verify=httpx.create_ssl_context())
    return httpx.Client(transport=verified, **_options(bounds))


def open_async_client(transport: httpx.AsyncBaseTransport | None, bounds: Bounds) -> httpx.AsyncClient:
    """For the tasks of one event loop."""
    verified = transport or httpx.AsyncHTTPTransport(verify=httpx.create_ssl_context())
    return httpx.AsyncClient(transport=verified, **_options(bounds))


def _options(bounds: Bounds) -> dict[str, Any]:
    return {
        "timeout": bounds.phases,
        # A redirect would carry tokens to wherever it points.
        "follow_redirects": False,
        # HTTP_PROXY and its like would, too: a proxy is meant where it is a transport that was given. SSL_CERT_FILE and
        # SSL_CERT_DIR are obeyed all the same, by create_ssl_context.
        "trust_env": False,
        # One client may speak for many users.
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # Decompressing comes before any bound on the size.
        "headers": {"Accept-Encoding": "identity"},
    }


def send(client: httpx.Client, request: httpx.Request, bounds: Bounds) -> Reply:
    """The answer, whatever its status.

    :raises NetworkError: when nobody answers; Timeout: not in time.
    :raises ServerError: when the answer is too large, or compressed.
    """
    try:
        with within(bounds.seconds) as deadline:
            response = client.send(request, stream=True)
            try:
                body = _Body(response, bounds)
                for chunk in response.iter_bytes():
                    deadline.require_time()
                    body.add(chunk)
            finally:
                response.close()
    except httpx.RequestError as error:
        raise _network_error(error) from None
    return body.reply()


async def send_async(client: httpx.AsyncClient, request: httpx.Request, bounds: Bounds) -> Reply:
    """As ``send``."""
    try:
        async with asyncio.timeout(bounds.seconds):
            response = await client.send(request, stream=True)
            try:
                body = _Body(response, bounds)
                async for chunk in response.aiter_bytes():
                    body.add(chunk)
            finally:
                await response.aclose()
    except TimeoutError:
        raise Timeout("the server did not answer in time", was_sent=True) from None
    except httpx.RequestError as error:
        raise _network_error(error) from None
    return body.reply()


class _Body:
    """The body of an answer, as it grows."""

    def __init__(self, response: httpx.Response, bounds: Bounds) -> None:
        self._status = response.status_code
        self._headers: Mapping[str, str] = dict(response.headers)
        self._largest = bounds.largest
        self._bytes = bytearray()
        if self._headers.get("content-encoding", "").lower() not in ("", "identity"):
            raise self._refusal("the server's answer is compressed, though that was not asked for")

    def add(self, chunk: bytes) -> None:
        if len(self._bytes) + len(chunk) > self._largest:
            raise self._refusal(f"the server's answer is larger than {self._largest} bytes")
        self._bytes += chunk

    def reply(self) -> Reply:
        return Reply(self._status, self._headers, bytes(self._bytes))

    def _refusal(self, message: str) -> ServerError:
        error = ServerError(message)
        error.status = self._status
        error.was_executed = True
        return error


def _network_error(error: httpx.RequestError) -> NetworkError:
    """What httpx met. It must not be chained: it holds the request, and with it the tokens."""
    was_sent = not isinstance(error, _NEVER_SENT)
    if isinstance(error, httpx.PoolTimeout):
        return NoFreeConnection("all connections to the server are in use", was_sent=False)
    if isinstance(error, httpx.TimeoutException):
        late = "the server did not answer in time" if was_sent else "there was no connection to the server in time"
        return Timeout(late, was_sent=was_sent)
    what = "the connection to the server failed" if was_sent else "the server cannot be reached"
    return NetworkError(f"{what}: {reason(error)}", was_sent=was_sent)
