"""The few answers that a middleware gives by itself, whichever protocol carries them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from urllib.parse import quote

_NOT_KEPT = (b"cache-control", b"no-store")
_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_WAIT = 5
"""Seconds after which to come again, where the server does not say."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response; names of headers are in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def redirect(location: str) -> Answer:
    """303: whatever the method was, the browser fetches the login page with GET."""
    # Nothing in it ends the header, or the line.
    return _answer(303, b"", _TEXT, (b"location", quote(location, safe="/?#[]@!$&'()*+,;=:%~").encode()))


def unauthenticated() -> Answer:
    """401 in JSON. ``WWW-Authenticate`` names no scheme that would make a browser ask for a password."""
    body = _json_error("UNAUTHENTICATED", "log in to use this")
    return _answer(401, body, _JSON, (b"www-authenticate", b'Cookie realm="keystead"'))


def foreign(*, is_for_program: bool) -> Answer:
    """403: a page of another site sent this."""
    message = "This request was sent by a page of another site."
    body = _json_error("FORBIDDEN", message) if is_for_program else message.encode()
    return _answer(403, body, _JSON if is_for_program else _TEXT)


def unavailable(*, is_for_program: bool, retry_after: float | None) -> Answer:
    """503: nobody can tell at the moment who is logged in. ``retry_after`` is in seconds."""
    message = "The sign-in service cannot be reached. Please try again in a moment."
    body = _json_error("SERVICE_UNAVAILABLE", message) if is_for_program else message.encode()
    wait = (b"retry-after", whole_seconds(retry_after).encode())
    return _answer(503, body, _JSON if is_for_program else _TEXT, wait)


def whole_seconds(retry_after: float | None) -> str:
    """As ``Retry-After`` has it: not less than what the server asks for, and some where it does not say."""
    return str(_WAIT if retry_after is None else max(1, math.ceil(retry_after)))


def _json_error(code: str, message: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def _answer(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    return Answer(status, [*headers, (b"content-length", str(len(body)).encode()), _NOT_KEPT], body)
