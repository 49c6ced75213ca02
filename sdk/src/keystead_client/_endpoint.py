"""The server's URL, and the client's own credentials."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx

from keystead_client.errors import NotAuthenticated, Unauthenticated


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The URL of ``/graphql`` and the credentials of the client itself, without those of a user."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    brand_token: str | None = field(default=None, repr=False)
    forwarded_for: str | None = None

    def headers(
        self,
        auth_token: str | None = None,
        *,
        forwarded_for: str | None = None,
        is_exchange: bool = False,
        with_key: bool = True,
    ) -> dict[str, str]:
        """The headers of one request.

        The exchange of a refresh token goes without credentials: the token identifies its brand, and a bad credential
        beside it would get the whole request rejected.

        :raises Unauthenticated: ``auth_token`` holds characters that no header can carry.
        :raises ValueError: the same for ``forwarded_for``.
        """
        forwarded_for = forwarded_for or self.forwarded_for
        if forwarded_for and not (forwarded_for.isascii() and forwarded_for.isprintable()):
            raise ValueError("forwarded_for holds characters that no header can carry")
        if auth_token and not is_header_safe(auth_token):
            raise Unauthenticated("that is no access token")
        given = {
            "Authorization": f"Bearer {auth_token}" if auth_token and not is_exchange else None,
            "keystead-api-key": self.api_key if with_key and not is_exchange else None,
            "keystead-brand-authorization": None if is_exchange else self.brand_token,
            "X-Forwarded-For": forwarded_for,
        }
        return {name: value for name, value in given.items() if value}


def endpoint_from(
    url: str | None,
    api_key: str | None = None,
    brand_token: str | None = None,
    forwarded_for: str | None = None,
    *,
    allow_http: bool = False,
) -> Endpoint:
    """The arguments, else ``KEYSTEAD_ENDPOINT``, ``KEYSTEAD_API_KEY``, ``KEYSTEAD_BRAND_TOKEN``.

    :raises ValueError: no URL, or an invalid one.
    """
    url = url or os.environ.get("KEYSTEAD_ENDPOINT")
    if not url:
        raise ValueError("no endpoint: pass one, or set KEYSTEAD_ENDPOINT")
    api_key = api_key if api_key is not None else os.environ.get("KEYSTEAD_API_KEY")
    brand_token = brand_token if brand_token is not None else os.environ.get("KEYSTEAD_BRAND_TOKEN")
    for name, secret in (("API key", api_key), ("brand token", brand_token)):
        if secret and not is_header_safe(secret):
            raise ValueError(f"the {name} holds characters that no header can carry")
    return Endpoint(graphql_url(url, allow_http=allow_http), api_key, brand_token, forwarded_for)


def graphql_url(url: str, *, allow_http: bool = False) -> str:
    """The URL of ``/graphql``: ``https://id.example.com`` and ``https://id.example.com/graphql`` are the same.

    :raises ValueError: no such URL, or plain http to another computer without ``allow_http``.
    """
    parts = split_url("endpoint", url, allow_http)
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the endpoint must be a plain URL, without user, query and fragment")
    path = parts.path.rstrip("/").removesuffix("/graphql")
    return urlunsplit((parts.scheme, parts.netloc, f"{path}/graphql", "", ""))


def is_header_safe(secret: str) -> bool:
    """Whether a header can carry the text as one word."""
    return bool(secret) and secret.isascii() and secret.isprintable() and " " not in secret


def require_token(name: str, token: object, missing: type[NotAuthenticated]) -> str:
    """The token itself. A request without one would run with the program's own rights.

    :raises NotAuthenticated: of the class ``missing``: there is no token.
    :raises TypeError: not a text.
    """
    if not isinstance(token, str | None):
        raise TypeError(f"{name}: the text of a token, not {type(token).__name__}")
    if not token:
        raise missing(f"{name}: there is none")
    return token


def is_loopback(host: str) -> bool:
    """Whether a host name means this computer: ``localhost``, 127.0.0.0/8, ::1. Nothing is resolved.

    Subdomains of ``localhost`` do not count, since many systems look them up in the network despite RFC 6761.
    """
    name = host.lower().strip("[]").removesuffix(".")
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def split_url(name: str, url: str, allow_http: bool) -> SplitResult:
    """The parts of an http or https URL.

    :raises ValueError: another URL, one that httpx would read differently, for example as another host, or plain http
        to another computer without ``allow_http``.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the {name} must be an http or https URL")
    try:
        read = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"no such URL: {error}") from None
    port = None if parts.port == {"http": 80, "https": 443}[parts.scheme] else parts.port
    is_same_host = parts.hostname in (read.host, read.raw_host.decode("ascii"))
    if not is_same_host or (parts.scheme, port) != (read.scheme, read.port):
        raise ValueError("no such URL: it can be read in two ways")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise ValueError(
            f"the {name} is plain http to {parts.hostname}: tokens and passwords could be read on the way. Use https,"
            " or set allow_http=True on a private network, as between containers"
        )
    return parts
