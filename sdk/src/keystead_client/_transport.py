"""HTTP requests over httpx, bounded in time and size: no redirects, no proxies, no cookies.

Connections survive neither a fork nor an event loop: a forked process and each event loop have their own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import aclosing, closing
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import isfinite
from typing import Any, Final
from weakref import WeakSet

import httpx

from keystead_client._protocol import Reply
from keystead_client.errors import KeysteadError, NetworkError, ServerError, Timeout, Unauthorized

LOGGER: Final = logging.getLogger("keystead_client")
QUIET: Final = 60.0
"""Seconds between two outages that are logged."""
LONGEST_REASON: Final = 160
"""Characters."""
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class PoolTimeout(Timeout):
    """All connections of the pool were in use for too long: says nothing about the server."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of one request. ``seconds``: its timeout, half of it to connect. ``largest``: bytes of the body.

    :raises ValueError: a bound that is not positive.
    """

    seconds: float
    largest: int

    def __post_init__(self) -> None:
        if not (isfinite(self.seconds) and self.seconds > 0):
            raise ValueError("timeout: a number of seconds above 0")
        if self.largest <= 0:
            raise ValueError("max_answer: a number of bytes above 0")

    @property
    def client_options(self) -> dict[str, Any]:
        """The options of an httpx client."""
        # A request whose connection was not made in half the time was certainly not sent, and may be retried.
        half = self.seconds / 2
        return {
            "timeout": httpx.Timeout(self.seconds, connect=half, pool=half),
            "follow_redirects": False,  # a redirect would carry tokens to wherever it points
            "trust_env": False,  # so would HTTP_PROXY; create_ssl_context obeys SSL_CERT_FILE and SSL_CERT_DIR anyway
            "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),  # one client acts for many users
            "headers": {"Accept-Encoding": "identity"},  # decompression comes before any bound on the size
        }


class ThreadConnections:
    """The connection pool of threads. A ``transport`` that is given is used instead, also after a fork."""

    def __init__(self, transport: httpx.BaseTransport | None, bounds: Bounds) -> None:
        self._transport = transport
        self._bounds = bounds
        self._tls = None if transport else httpx.create_ssl_context()
        self.reopen()
        _POOLS.add(self)

    def close(self) -> None:
        """Close the connections. A later request opens new ones."""
        self.client.close()
        self.reopen()

    def reopen(self) -> None:
        """Drop the pool without closing its connections, which another process may use."""
        transport = self._transport or httpx.HTTPTransport(verify=self._tls or True)
        self.client = httpx.Client(transport=transport, **self._bounds.client_options)


_POOLS: WeakSet[ThreadConnections] = WeakSet()


def _drop_pools() -> None:
    for pool in list(_POOLS):
        pool.reopen()


if hasattr(os, "register_at_fork"):
    # Two processes that read from one connection would receive each other's answers.
    os.register_at_fork(after_in_child=_drop_pools)


class LoopConnections:
    """One connection pool for each event loop. A ``transport`` that is given serves all of them."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None, bounds: Bounds) -> None:
        self._transport = transport
        self._bounds = bounds
        self._tls: ssl.SSLContext | None = None
        self._clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}

    @property
    def client(self) -> httpx.AsyncClient:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            # Connections of closed loops can be neither used nor closed.
            for ended in [known for known in list(self._clients) if known.is_closed()]:
                self._clients.pop(ended, None)
            # Reading all certificates takes some 20 ms, so the context is shared.
            self._tls = self._tls or (None if self._transport else httpx.create_ssl_context())
            transport = self._transport or httpx.AsyncHTTPTransport(verify=self._tls or True)
            client = self._clients[loop] = httpx.AsyncClient(transport=transport, **self._bounds.client_options)
        return client

    async def close(self) -> None:
        """Close the connections of this event loop. A later request opens new ones."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


def send(client: httpx.Client, request: httpx.Request, bounds: Bounds) -> Reply:
    """The answer, whatever its status. The timeout bounds each wait, and the time until the body is complete.

    :raises NetworkError: no answer; Timeout: not in time.
    :raises ServerError: the answer is too large, or compressed.
    """
    ends_at, body = time.monotonic() + bounds.seconds, bytearray()
    try:
        response = client.send(request, stream=True)
        with closing(response):
            _check(response, 0, bounds)
            for chunk in response.iter_bytes():
                if time.monotonic() > ends_at:
                    raise httpx.ReadTimeout("the whole request takes too long")
                body += chunk
                _check(response, len(body), bounds)
    except httpx.RequestError as error:
        raise _network_error(error) from None
    return Reply(response.status_code, dict(response.headers), bytes(body))


async def send_async(client: httpx.AsyncClient, request: httpx.Request, bounds: Bounds) -> Reply:
    """As :func:`send`; the timeout bounds the whole request."""
    body = bytearray()
    try:
        async with asyncio.timeout(bounds.seconds):
            response = await client.send(request, stream=True)
            async with aclosing(response):
                _check(response, 0, bounds)
                async for chunk in response.aiter_bytes():
                    body += chunk
                    _check(response, len(body), bounds)
    except TimeoutError:
        raise Timeout("the server did not answer in time", was_sent=True) from None
    except httpx.RequestError as error:
        raise _network_error(error) from None
    return Reply(response.status_code, dict(response.headers), bytes(body))


def _check(response: httpx.Response, size: int, bounds: Bounds) -> None:
    if response.headers.get("content-encoding", "").lower() not in ("", "identity"):
        error = ServerError("the server's answer is compressed, though that was not asked for")
    elif size > bounds.largest:
        error = ServerError(f"the server's answer is larger than {bounds.largest} bytes")
    else:
        return
    error.status, error.was_executed = response.status_code, True
    raise error


def _network_error(error: httpx.RequestError) -> NetworkError:
    """The SDK's error for httpx's, which must not be chained: it holds the request, and with it the tokens."""
    was_sent = not isinstance(error, _NEVER_SENT)
    if isinstance(error, httpx.PoolTimeout):
        return PoolTimeout("all connections to the server are in use", was_sent=False)
    if isinstance(error, httpx.TimeoutException):
        late = "the server did not answer in time" if was_sent else "there was no connection to the server in time"
        return Timeout(late, was_sent=was_sent)
    what = "the connection to the server failed" if was_sent else "the server cannot be reached"
    return NetworkError(f"{what}: {_reason(error)}", was_sent=was_sent)


def _reason(error: httpx.RequestError) -> str:
    """One line: connection refused, name not found, certificate not trusted...

    The system's text is preferred to httpx's, which with ``await`` is "All connection attempts failed". Text about a
    request that was sent is never used: it may quote a header, and with it a token.
    """
    cause: BaseException | None = error if isinstance(error, httpx.NetworkError) else None
    while cause is not None:
        if isinstance(cause, OSError) and (text := _system_reason(cause)):
            return one_line(text, LONGEST_REASON)
        # httpcore raises "from None" what it made of the system's error. The context of other exceptions may be
        # anything that the program was handling when it sent the request.
        is_mapped = type(cause).__module__.startswith("httpcore")
        several = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else None
        cause = several or cause.__cause__ or (cause.__context__ if is_mapped else None)
    if isinstance(error, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol) and str(error):
        return one_line(str(error), LONGEST_REASON)
    if isinstance(error, httpx.RemoteProtocolError):
        was_closed = "disconnected" in str(error) or "closed connection" in str(error)
        return "the connection was closed too early" if was_closed else "what answers does not speak HTTP"
    return type(error).__name__


def _system_reason(cause: OSError) -> str | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {(cause.reason or 'for no reason').lower().replace('_', ' ')}"
    if isinstance(cause, socket.gaierror):
        return f"the name cannot be resolved: {cause.strerror}"
    return os.strerror(cause.errno) if cause.errno else None


def one_line(message: str, longest: int = 300) -> str:
    """The message for a log: in one line, bounded, without control characters."""
    text = message if len(message) <= longest else message[: longest - 1] + "…"
    return "".join(letter if letter.isprintable() else " " for letter in text)


class OutageLog:
    """Around each request: logs the start of an outage, and its end, at most once a minute.

    A rejected user token is no outage; a rejected credential of the application is.
    """

    def __init__(self, who: str, clock: Callable[[], float]) -> None:
        self._who = who
        self._clock = clock
        self._is_out = False
        self._written_at: float | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PoolTimeout):
            return
        if isinstance(error, NetworkError | ServerError | Unauthorized):
            now = self._clock()
            if not self._is_out and (self._written_at is None or not 0 <= now - self._written_at < QUIET):
                self._is_out, self._written_at = True, now
                LOGGER.warning("%s cannot tell who is logged in: %s", self._who, one_line(error.message))
        elif self._is_out and (error is None or isinstance(error, KeysteadError)):
            self._is_out = False
            LOGGER.info("%s can tell again who is logged in", self._who)
