"""Why no answer came, in words for whoever runs the program: taken from what failed, never from what was sent."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpx

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
