"""The two cookies in which a browser holds its session: written, deleted, and read strictly.

Neither names a ``Domain`` (no subdomain receives them), both are ``HttpOnly`` (no script reads them) and
``SameSite=Lax`` (no foreign page posts with them), or ``Strict`` where that is chosen (its links bring none either).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from keystead_client.tokens import Tokens

__all__ = ["CookieOptions"]

# What a JWT or an opaque secret consists of: RFC 6750's b64token. Anything else is no token of ours.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,4096}")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_PROXIED = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)


@dataclass(frozen=True, slots=True)
class CookieOptions:
    """Names and attributes of the cookies.

    ``secure``: None means everywhere except in local development, which is plain HTTP to a loopback name without a
    proxy in between. Say True in production: a proxy that speaks HTTP to us and hides the public host name looks like
    local development where a request has no ``Origin`` and no ``Referer``.
    Ages are in seconds.
    """

    secure: bool | None = None
    auth_name: str = "keystead_auth_token"
    refresh_name: str = "keystead_refresh_token"
    same_site: Literal["Lax", "Strict"] = "Lax"
    auth_max_age: int = 3600
    refresh_max_age: int = 604_800

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.auth_name) or not _NAME.fullmatch(self.refresh_name):
            raise ValueError("the name of a cookie consists of letters, digits, '_' and '-'")
        if self.auth_name == self.refresh_name:
            raise ValueError("the two cookies need two names")
        if self.same_site not in ("Lax", "Strict"):
            raise ValueError("same_site is 'Lax' or 'Strict'")

    @property
    def names(self) -> tuple[str, str]:
        """Of the auth token's and the refresh token's cookie."""
        return self.auth_name, self.refresh_name


DEFAULT = CookieOptions()


@dataclass(frozen=True, slots=True)
class CookieTokens:
    """What a browser sent; None: absent, or not to be believed."""

    auth_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)


def set_cookies(tokens: Tokens, options: CookieOptions = DEFAULT, *, is_local: bool = False) -> list[str]:
    """The values of the ``Set-Cookie`` headers that hand the tokens to a browser.

    Raises ``ValueError`` for text that cannot stand in a cookie: no token of ours looks like that.
    """
    written = [
        (options.auth_name, tokens.auth_token, options.auth_max_age),
        (options.refresh_name, tokens.refresh_token, options.refresh_max_age),
    ]
    return [_cookie(name, token, age, options, is_local) for name, token, age in written if token is not None]


def clear_cookies(options: CookieOptions = DEFAULT, *, is_local: bool = False) -> list[str]:
    """The values of the ``Set-Cookie`` headers that make a browser forget both."""
    return [_cookie(name, "", 0, options, is_local) for name in options.names]


def read_cookies(headers: Iterable[str], options: CookieOptions = DEFAULT) -> CookieTokens:
    """The tokens in the ``Cookie`` headers of a request.

    A name that occurs twice counts as absent: a neighbouring subdomain can add a second one but cannot take ours
    away, and which of two a browser sends first is the attacker's choice.
    """
    found: dict[str, list[str]] = {name: [] for name in options.names}
    for part in ";".join(headers).split(";"):
        name, _, value = part.partition("=")
        if name.strip(" \t") in found:
            found[name.strip(" \t")].append(value.strip(" \t"))
    return CookieTokens(*(_only(found[name]) for name in options.names))


def is_local_development(
    scheme: str, host: str, header_names: Iterable[bytes], pages: Iterable[str | None] = ()
) -> bool:
    """Whether a request came over plain HTTP, to a loopback name, through no proxy that tells of itself.

    ``host`` is the ``Host`` header; ``header_names`` are in lower case. ``pages`` are what ``Origin`` and ``Referer``
    say: a proxy that says nothing else passes them on, and they name the public host.
    """
    if scheme not in ("http", "ws") or not _PROXIED.isdisjoint(header_names):
        return False
    return _is_loopback(host) and all(_is_local_page(page) for page in pages if page)


def loses_secure_cookies(
    scheme: str, host: str, header_names: Iterable[bytes], pages: Iterable[str | None] = ()
) -> bool:
    """Whether the browser will drop cookies that are Secure: it came over plain HTTP to another computer, as far as
    proxies tell. The arguments are those of :func:`is_local_development`."""
    if scheme not in ("http", "ws") or not _PROXIED.isdisjoint(header_names) or _is_loopback(host):
        return False
    return not any(page.startswith("https:") for page in pages if page)


def _is_local_page(address: str) -> bool:
    scheme, _, rest = address.partition("://")
    return scheme == "http" and _is_loopback(rest.partition("/")[0])


def _is_loopback(host: str) -> bool:
    name = re.sub(r":\d+$", "", host.strip(" \t").lower()).strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _only(values: list[str]) -> str | None:
    return values[0] if len(values) == 1 and _TOKEN.fullmatch(values[0]) else None


def _cookie(name: str, value: str, max_age: int, options: CookieOptions, is_local: bool) -> str:
    if value and not _TOKEN.fullmatch(value):
        raise ValueError("this is not a token")
    secure = options.secure if options.secure is not None else not is_local
    attributes = f"Max-Age={max_age}; Path=/; HttpOnly; SameSite={options.same_site}"
    return f"{name}={value}; {attributes}" + ("; Secure" if secure else "")
