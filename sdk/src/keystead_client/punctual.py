"""An end to the whole of a request, for threads.

httpx bounds each single wait: a server that sends one byte and another, each just in time, holds a thread as long as it
likes. Tasks have ``asyncio.timeout``; a thread needs a look at the clock at every wait.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx


class Deadline:
    """A moment of the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def require_time(self, late: type[httpx.TimeoutException] = httpx.ReadTimeout) -> float:
        """The seconds that are left. Raises ``late`` where there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise late("the whole request takes too long")
        return left


_LONGEST_WAIT = 60.0
"""Seconds, where nobody says anything else."""
_PART = 16 * 1024
"""Bytes: what TLS sends as one record."""
_deadline: ContextVar[Deadline | None] = ContextVar("keystead_deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[Deadline]:
    """What goes over a ``PunctualTransport`` inside is over after so many seconds."""
    deadline = Deadline(seconds)
    token = _deadline.set(deadline)
    try:
        yield deadline
    finally:
        _deadline.reset(token)


class PunctualTransport(httpx.BaseTransport):
    """Over TCP, as httpx does it, and no wait is longer than what is left of ``within``.

    A process that was forked opens connections of its own: two that read from one would get each other's answers.
    """

    def __init__(self, verify: ssl.SSLContext) -> None:
        self._verify = verify
        self._opened = os.getpid(), _open(verify)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Over a connection of this process."""
        # Asked for at each request: a server that forks its workers without Python's knowledge calls none of its hooks.
        process, transport = self._opened
        if process != os.getpid():
            transport = _open(self._verify)
            self._opened = os.getpid(), transport
        return transport.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._opened[1].close()


def _open(verify: ssl.SSLContext) -> httpx.HTTPTransport:
    """httpx has no public place for a look at the clock. Where a version of it keeps its backend elsewhere, the single
    waits remain bounded, and there is ``require_time`` between the parts of the answer."""
    transport = httpx.HTTPTransport(verify=verify)
    pool: Any = transport._pool
    backend = getattr(pool, "_network_backend", None)
    if backend is not None:
        pool._network_backend = _Backend(backend)
    return transport


class _Backend:
    """Opens connections; has what httpcore asks of a ``NetworkBackend``."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _Stream:
        """To the first address of the host that answers; each has its share of the time, not all of it.

        Looking up the name takes the resolver's own time, usually no more than some seconds.
        """
        until = Deadline(_left(timeout, httpx.ConnectTimeout))
        addresses = _addresses(host, port)
        while True:
            address = addresses.pop(0)
            share = until.require_time(httpx.ConnectTimeout) / (len(addresses) + 1)
            try:
                return _Stream(self._inner.connect_tcp(address, port, share, **options))
            except Exception:
                if not addresses:
                    raise


class _Stream:
    """A connection; has what httpcore asks of a ``NetworkStream``."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        received: bytes = self._inner.read(max_bytes, _left(timeout, httpx.ReadTimeout))
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In parts, for the stream below gives each of its waits the same time.
        for start in range(0, len(buffer), _PART):
            self._inner.write(buffer[start : start + _PART], _left(timeout, httpx.WriteTimeout))

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> _Stream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout, httpx.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()


def _left(timeout: float | None, late: type[httpx.TimeoutException]) -> float:
    """Seconds for one wait."""
    seconds = _LONGEST_WAIT if timeout is None else timeout
    deadline = _deadline.get()
    return min(seconds, deadline.require_time(late)) if deadline else seconds


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError(f"the name cannot be resolved: {error.strerror or error}") from None
    except UnicodeError:
        raise httpx.ConnectError("the name cannot be resolved: no such name can be") from None
    return list(dict.fromkeys(str(address[4][0]) for address in found))
