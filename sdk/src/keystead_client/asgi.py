"""The shapes of ASGI, and the few answers that the middleware gives by itself."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


def header_values(scope: Scope, name: bytes) -> list[str]:
    """The values of a header, in the order in which they were sent."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def without_keystead_headers(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """The headers without those that claim to come from the middleware, also where they are spelt with underscores."""
    return [pair for pair in headers if not pair[0].lower().replace(b"_", b"-").startswith(b"x-keystead-")]


def with_cookies(headers: Iterable[tuple[bytes, bytes]], cookies: list[str], names: tuple[str, ...]) -> RawHeaders:
    """The headers of a response, with our cookies once; those of the application stay, except under our names.

    A response that carries tokens is kept by no cache.
    """
    ours = tuple(f"{name}=".encode() for name in names)
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() != b"cache-control" and not (name.lower() == b"set-cookie" and value.startswith(ours))
    ]
    return [*kept, (b"cache-control", b"no-store"), *((b"set-cookie", cookie.encode("ascii")) for cookie in cookies)]


async def send_redirect(send: Send, location: str) -> None:
    """303: whatever the method was, the browser fetches the login page with GET."""
    await _send(send, 303, b"", [(b"location", location.encode("latin-1", "replace"))])


async def send_unauthenticated(send: Send) -> None:
    """401 in JSON. ``WWW-Authenticate`` names no scheme that would make a browser ask for a password."""
    body = _json_error("UNAUTHENTICATED", "log in to use this")
    await _send(send, 401, body, [_JSON, (b"www-authenticate", b'Cookie realm="keystead"')])


async def send_unavailable(send: Send, *, is_for_program: bool, retry_after: float | None) -> None:
    """503: nobody can tell at the moment who is logged in."""
    message = "The sign-in service cannot be reached. Please try again in a moment."
    body = _json_error("SERVICE_UNAVAILABLE", message) if is_for_program else message.encode()
    content_type = _JSON if is_for_program else (b"content-type", b"text/plain; charset=utf-8")
    seconds = max(1, math.ceil(retry_after)) if retry_after is not None else 5
    await _send(send, 503, body, [content_type, (b"retry-after", str(seconds).encode())])


async def refuse_websocket(receive: Receive, send: Send, code: int) -> None:
    """Closes before accepting: the browser sees HTTP 403."""
    await receive()
    await send({"type": "websocket.close", "code": code, "reason": ""})


_JSON = (b"content-type", b"application/json")


def _json_error(code: str, message: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


async def _send(send: Send, status: int, body: bytes, headers: RawHeaders) -> None:
    more = [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *more]})
    await send({"type": "http.response.body", "body": body})
