"""Session cookies of the browser: set, deleted and read strictly; and the headers around them.

Neither cookie has a ``Domain`` (no subdomain receives it). Both are ``HttpOnly`` (scripts cannot read them) and
``SameSite=Lax`` (not sent with cross-site forms), or ``Strict`` if chosen (not sent with cross-site links either).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from keystead_client.tokens import Tokens

__all__ = ["CookieOptions"]

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,4096}")  # a JWT or an opaque secret: RFC 6750's b64token
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_CACHE_HEADERS: Final = frozenset({b"cache-control", b"expires", b"pragma", b"surrogate-control", b"x-accel-expires"})

RawHeaders = list[tuple[bytes, bytes]]
"""Names and values as in ASGI; WSGI has the same as Latin-1 text."""


@dataclass(frozen=True, slots=True)
class CookieOptions:
    """Names and attributes of the cookies.

    :param secure: None sets ``Secure`` except in local development, which is plain HTTP to a loopback name without a
        proxy in between. Use True in production: a proxy that forwards plain HTTP and hides the public host looks like
        local development when a request has neither ``Origin`` nor ``Referer``.
    :param auth_max_age: seconds, as is ``refresh_max_age``.
    :raises ValueError: a name or ``same_site`` is invalid.
    """

    secure: bool | None = None
    auth_name: str = "keystead_auth_token"
    refresh_name: str = "keystead_refresh_token"
    same_site: Literal["Lax", "Strict"] = "Lax"
    auth_max_age: int = 3600
    refresh_max_age: int = 604_800

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.auth_name) or not _NAME.fullmatch(self.refresh_name):
            raise ValueError("a cookie name consists of letters, digits, '_' and '-'")
        if self.auth_name == self.refresh_name:
            raise ValueError("auth_name and refresh_name must differ")
        if self.same_site not in ("Lax", "Strict"):
            raise ValueError("same_site must be 'Lax' or 'Strict'")

    @property
    def names(self) -> tuple[str, str]:
        """The names of the auth cookie and the refresh cookie."""
        return self.auth_name, self.refresh_name


DEFAULT: Final = CookieOptions()


@dataclass(frozen=True, slots=True)
class CookieTokens:
    """The tokens a browser sent; None if absent or malformed."""

    auth_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)


def set_cookies(tokens: Tokens, options: CookieOptions = DEFAULT, *, is_local: bool = False) -> list[str]:
    """Return the ``Set-Cookie`` values that hand the tokens to a browser.

    :raises ValueError: text that cannot be a token.
    """
    written = [
        (options.auth_name, tokens.auth_token, options.auth_max_age),
        (options.refresh_name, tokens.refresh_token, options.refresh_max_age),
    ]
    return [_cookie(name, token, age, options, is_local) for name, token, age in written if token is not None]


def clear_cookies(options: CookieOptions = DEFAULT, *, is_local: bool = False) -> list[str]:
    """Return the ``Set-Cookie`` values that delete both cookies."""
    return [_cookie(name, "", 0, options, is_local) for name in options.names]


def read_cookies(headers: Iterable[str], options: CookieOptions = DEFAULT) -> CookieTokens:
    """Read the tokens from the ``Cookie`` headers of a request.

    A duplicated name counts as absent (cookie tossing): a sibling subdomain can add a second cookie but not remove
    ours, and the browser may send either one first.
    """
    found: dict[str, list[str]] = {name: [] for name in options.names}
    for part in ";".join(headers).split(";"):
        name, _, value = part.partition("=")
        if name.strip(" \t") in found:
            found[name.strip(" \t")].append(value.strip(" \t"))
    return CookieTokens(*(_only(found[name]) for name in options.names))


def without_keystead_headers(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Strip ``x-keystead-*`` headers, spelt with hyphens or underscores, from a request."""
    return [pair for pair in headers if not pair[0].lower().replace(b"_", b"-").startswith(b"x-keystead-")]


def with_cookies(headers: Iterable[tuple[bytes, bytes]], cookies: list[str], names: tuple[str, ...]) -> RawHeaders:
    """Add our cookies to the headers of a response, replacing any of the same names, and forbid caching."""
    ours = tuple(f"{name}=".encode() for name in names)
    kept = []
    for name, value in headers:
        lower = name.lower()
        # RFC 9213: each CDN may have its own, such as Cloudflare-CDN-Cache-Control.
        is_for_caches = lower in _CACHE_HEADERS or lower.endswith(b"cdn-cache-control")
        if not is_for_caches and not (lower == b"set-cookie" and value.lstrip(b" \t").startswith(ours)):
            kept.append((name, value))
    return [*kept, (b"cache-control", b"no-store"), *((b"set-cookie", cookie.encode("ascii")) for cookie in cookies)]


def private(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Mark a response as specific to one user: ``Vary: Cookie``, and ``private, no-cache`` by default.

    A ``Cache-Control`` of the application stays as it is.
    """
    marked = list(headers)
    names = [name.lower() for name, _ in marked]
    if b"vary" in names:
        name, value = marked[names.index(b"vary")]
        marked[names.index(b"vary")] = (name, _with_cookie(value))
    else:
        marked.append((b"vary", b"Cookie"))
    if b"cache-control" not in names:
        marked.append((b"cache-control", b"private, no-cache"))
    return marked


def _with_cookie(vary: bytes) -> bytes:
    named = [name.strip(b" \t") for name in vary.split(b",") if name.strip(b" \t")]
    if b"*" in named or b"cookie" in (name.lower() for name in named):
        return vary
    return b", ".join([*named, b"Cookie"])


def _only(values: list[str]) -> str | None:
    return values[0] if len(values) == 1 and _TOKEN.fullmatch(values[0]) else None


def _cookie(name: str, value: str, max_age: int, options: CookieOptions, is_local: bool) -> str:
    if value and not _TOKEN.fullmatch(value):
        raise ValueError("this is not a token")
    secure = options.secure if options.secure is not None else not is_local
    attributes = f"Max-Age={max_age}; Path=/; HttpOnly; SameSite={options.same_site}"
    return f"{name}={value}; {attributes}" + ("; Secure" if secure else "")
