"""HTTP requests over httpx, bounded in time and size: no redirects, no proxies, no cookies."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import isfinite
from types import TracebackType
from typing import Any, Final

import httpx

from keystead_client._protocol import Reply
from keystead_client.errors import KeysteadError, NetworkError, ServerError, Timeout, Unauthorized
from keystead_client.punctual import PunctualTransport, within

LONGEST: Final = 160
"""Characters."""
_DEEPEST: Final = 10
_BEFORE_ANYTHING_WAS_SENT = (httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol)


def reason(error: httpx.RequestError) -> str:
    """One line: that the connection was refused, the name not found, the certificate not trusted...

    The system's text is preferred to httpx's, which with ``await`` is "All connection attempts failed". Text about a
    request that was under way is not used at all: it may quote a header, and with it a token.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError):
            said = _of_system(cause)
            if said:
                return _bounded(said)
    if isinstance(error, _BEFORE_ANYTHING_WAS_SENT) and str(error):
        return _bounded(str(error))
    if isinstance(error, httpx.RemoteProtocolError):
        was_closed = "disconnected" in str(error) or "closed connection" in str(error)
        return "the connection was closed too early" if was_closed else "what answers does not speak HTTP"
    return type(error).__name__


def printable(text: str) -> str:
    """In one line, without what a terminal would obey, whoever wrote it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _causes(error: httpx.RequestError) -> Iterator[BaseException]:
    cause: BaseException | None = error if isinstance(error, httpx.NetworkError) else None
    for _ in range(_DEEPEST):
        if cause is None:
            return
        yield cause
        cause = _below(cause)


def _below(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        # Of several addresses each has failed in its own way; the first stands for all.
        return error.exceptions[0]
    # httpcore raises once more, "from None", what it has made of the system's error. Of others the context may be
    # whatever the program was about when it asked.
    is_mapped = type(error).__module__.partition(".")[0] == "httpcore"
    return error.__cause__ or (error.__context__ if is_mapped else None)


def _of_system(cause: OSError) -> str | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {(cause.reason or 'for no reason').lower().replace('_', ' ')}"
    if isinstance(cause, socket.gaierror):
        return f"the name cannot be resolved: {cause.strerror}"
    return os.strerror(cause.errno) if cause.errno else None


def _bounded(text: str) -> str:
    line = printable(text)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


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


class PoolTimeout(Timeout):
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
        return PoolTimeout("all connections to the server are in use", was_sent=False)
    if isinstance(error, httpx.TimeoutException):
        late = "the server did not answer in time" if was_sent else "there was no connection to the server in time"
        return Timeout(late, was_sent=was_sent)
    what = "the connection to the server failed" if was_sent else "the server cannot be reached"
    return NetworkError(f"{what}: {reason(error)}", was_sent=was_sent)


class AsyncClients:
    """One httpx client for each event loop that asks: of ``asyncio.run`` called twice, or of threads with loops.

    A ``transport`` that was given serves all of them.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None, bounds: Bounds) -> None:
        self._transport = transport
        self._bounds = bounds
        self._tls: ssl.SSLContext | None = None
        self._clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}

    @property
    def here(self) -> httpx.AsyncClient:
        """That of the event loop that runs in this thread."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            self._forget_ended_loops()
            client = self._clients[loop] = open_async_client(self._transport or self._open_transport(), self._bounds)
        return client

    async def close(self) -> None:
        """Closes what was opened on this event loop. What is asked afterwards opens anew."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _open_transport(self) -> httpx.AsyncBaseTransport:
        # To read all the certificates takes some 20 ms.
        self._tls = self._tls or httpx.create_ssl_context()
        return httpx.AsyncHTTPTransport(verify=self._tls)

    def _forget_ended_loops(self) -> None:
        """Their connections can be neither used nor closed any more."""
        for loop in [loop for loop in list(self._clients) if loop.is_closed()]:
            self._clients.pop(loop, None)


LOGGER: Final = logging.getLogger("keystead_client")

QUIET: Final = 60.0
"""Seconds from one outage that is written to the next."""
_LONGEST: Final = 300
"""Characters of a message that somebody else has written."""


def one_line(message: str) -> str:
    """The message as it may stand in a log, whoever wrote it."""
    return printable(message[:_LONGEST])


class WarnOnce:
    """A warning that is written once in each process."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._written: dict[str, object] = {}

    def __call__(self) -> None:
        mark = object()
        # Of threads that come at once, one is first.
        if self._written.setdefault("", mark) is mark:
            LOGGER.warning(self._message)


class OutageLog:
    """Around each question: writes one line when there is an outage, and one when it is over.

    That a question was refused is no outage, except where the application's own credential was.
    """

    def __init__(self, who: str, clock: Callable[[], float]) -> None:
        self._who = who
        self._clock = clock
        self._written: dict[str, object] = {}
        self._written_at: float | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, PoolTimeout):
            return
        if isinstance(error, NetworkError | ServerError | Unauthorized):
            self._begin(error)
        elif (error is None or isinstance(error, KeysteadError)) and self._written and self._written.pop("", None):
            LOGGER.info("%s can tell again who is logged in", self._who)

    def _begin(self, error: KeysteadError) -> None:
        now = self._clock()
        if self._written_at is not None and 0 <= now - self._written_at < QUIET:
            return
        mark = object()
        if self._written.setdefault("", mark) is mark:
            self._written_at = now
            LOGGER.warning("%s cannot tell who is logged in: %s", self._who, one_line(error.message))
