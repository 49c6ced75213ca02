"""The server's URL, and the client's own credentials."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx

from keystead_client.errors import Unauthenticated


def is_loopback(host: str) -> bool:
    """Whether a host name means this computer: ``localhost``, 127.0.0.0/8, ::1. Nothing is resolved.

    Names below ``localhost`` are not among them: browsers take them for this computer (RFC 6761), but many systems ask
    the network for their address.
    """
    name = host.lower().strip("[]").removesuffix(".")
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def split(url: str) -> SplitResult:
    """The parts of a URL, of which there is no doubt. Raises ``ValueError`` where httpx would read another host."""
    parts = urlsplit(url)
    try:
        read = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"no such URL: {error}") from None
    hosts = (read.host, read.raw_host.decode("ascii"))
    if (parts.hostname or "") not in hosts or (parts.scheme, _told(parts)) != (read.scheme, read.port):
        raise ValueError("no such URL: it can be read in two ways")
    return parts


def _told(parts: SplitResult) -> int | None:
    """The port, where it is another than the scheme's own."""
    return None if parts.port == {"http": 80, "https": 443}.get(parts.scheme) else parts.port


def require_private_way(name: str, url: str, allow_http: bool) -> None:
    """That nobody between here and there can read along. Raises ``ValueError``, naming the option that allows it."""
    parts = split(url)
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname or ""):
        raise ValueError(
            f"the {name} is plain http to {parts.hostname}: tokens and passwords could be read on the way. Use https,"
            " or say allow_http=True where the network between is your own, as between containers"
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The URL of ``/graphql`` and the credentials of the client itself; those of a user are not among them."""

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

        An exchange of a refresh token goes without credentials: the token says by itself whose it is, and a bad
        credential beside it would have the whole request refused.

        Raises ``Unauthenticated`` for an access token that no header can carry: it is none of Keystead's.
        ``ValueError`` for such an address.
        """
        forwarded_for = forwarded_for or self.forwarded_for
        if forwarded_for and not (forwarded_for.isascii() and forwarded_for.isprintable()):
            raise ValueError("forwarded_for holds characters that no header can carry")
        if auth_token and not can_be_sent(auth_token):
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
    environment: Mapping[str, str] | None = None,
    *,
    allow_http: bool = False,
) -> Endpoint:
    """What was given, else ``KEYSTEAD_ENDPOINT``, ``KEYSTEAD_API_KEY``, ``KEYSTEAD_BRAND_TOKEN``.

    Raises ``ValueError`` where there is no URL, or none that can be used. ``allow_http``: see ``graphql_url``.
    """
    environment = os.environ if environment is None else environment
    url = url or environment.get("KEYSTEAD_ENDPOINT")
    if not url:
        raise ValueError("no endpoint: give one, or set KEYSTEAD_ENDPOINT")
    api_key = api_key if api_key is not None else environment.get("KEYSTEAD_API_KEY")
    brand_token = brand_token if brand_token is not None else environment.get("KEYSTEAD_BRAND_TOKEN")
    for name, secret in (("API key", api_key), ("brand token", brand_token)):
        if secret and not can_be_sent(secret):
            raise ValueError(f"the {name} holds characters that no header can carry")
    return Endpoint(graphql_url(url, allow_http=allow_http), api_key, brand_token, forwarded_for)


def graphql_url(url: str, *, allow_http: bool = False) -> str:
    """``https://id.example.com`` and ``https://id.example.com/graphql`` are the same.

    Raises ``ValueError`` for what is no such URL, and for plain http to another computer, unless ``allow_http``.
    """
    parts = split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the endpoint must be an http or https URL")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the endpoint must be a plain URL, without user, query and fragment")
    require_private_way("endpoint", url, allow_http)
    path = parts.path.rstrip("/")
    if not path.endswith("/graphql"):
        path += "/graphql"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def can_be_sent(secret: str) -> bool:
    """Whether a header can carry it as one word."""
    return bool(secret) and secret.isascii() and secret.isprintable() and " " not in secret
