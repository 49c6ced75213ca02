"""What the middleware changes in the headers of a request and of its answer."""

from __future__ import annotations

from collections.abc import Iterable

_OF_CACHES = frozenset({b"cache-control", b"expires", b"pragma", b"surrogate-control", b"x-accel-expires"})

RawHeaders = list[tuple[bytes, bytes]]
"""Names and values as ASGI has them; WSGI's text is Latin-1 of the same."""


def without_keystead_headers(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """The headers without those that claim to come from the middleware, also where they are spelt with underscores."""
    return [pair for pair in headers if not pair[0].lower().replace(b"_", b"-").startswith(b"x-keystead-")]


def with_cookies(headers: Iterable[tuple[bytes, bytes]], cookies: list[str], names: tuple[str, ...]) -> RawHeaders:
    """The headers of a response, with our cookies once; those of the application stay, except under our names.

    A response that carries tokens is kept by no cache, also by none that obeys a header of its own.
    """
    ours = tuple(f"{name}=".encode() for name in names)
    kept = [
        (name, value)
        for name, value in headers
        if not _is_for_caches(name) and not (name.lower() == b"set-cookie" and value.lstrip(b" \t").startswith(ours))
    ]
    return [*kept, (b"cache-control", b"no-store"), *((b"set-cookie", cookie.encode("ascii")) for cookie in cookies)]


def for_one_browser(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """The headers of a response that depends on who is logged in.

    No cache gives it to anybody else, and a browser asks again before it uses its own copy (except for its back button,
    which only ``no-store`` keeps from it). Where the application has said itself how it may be kept, that stays.
    """
    marked, varies, is_said = [], False, False
    for name, value in headers:
        lower = name.lower()
        is_said = is_said or lower == b"cache-control"
        if lower == b"vary" and not varies:
            varies, value = True, _with_cookie(value)
        marked.append((name, value))
    if not varies:
        marked.append((b"vary", b"Cookie"))
    if not is_said:
        marked.append((b"cache-control", b"private, no-cache"))
    return marked


def _is_for_caches(name: bytes) -> bool:
    # RFC 9213: each network of caches may have its own, such as Cloudflare-CDN-Cache-Control.
    return name.lower() in _OF_CACHES or name.lower().endswith(b"cdn-cache-control")


def _with_cookie(vary: bytes) -> bytes:
    named = [name.strip(b" \t") for name in vary.split(b",") if name.strip(b" \t")]
    if b"*" in named or b"cookie" in (name.lower() for name in named):
        return vary
    return b", ".join([*named, b"Cookie"])
