"""What the middleware changes in the headers of a request and of its answer."""

from __future__ import annotations

from collections.abc import Iterable

RawHeaders = list[tuple[bytes, bytes]]
"""Names and values as ASGI has them; WSGI's text is Latin-1 of the same."""


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
