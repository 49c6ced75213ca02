"""Parse the request headers in one pass: credentials, client address, content negotiation."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from keystead.authentication.authenticate import Credentials
from keystead.context import RequestDetails
from keystead.errors import MalformedRequest
from keystead.settings import Network, Settings

LONGEST_USER_AGENT = 200
LONGEST_FORWARDED = 512
LONGEST_LANGUAGES = 200

_GRAPHQL_JSON = "application/graphql-response+json"
_LENGTH_DIGITS = 12
"""A longer Content-Length is too large in any case."""

_AUTHORIZATION, _API_KEY, _BRAND = "authorization", "api_key", "brand_token"

PLAIN_HEADERS: Final = frozenset(
    (
        b"accept",
        b"accept-language",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"origin",
        b"user-agent",
        b"x-forwarded-for",
    )
)
"""All headers that are read besides those of credentials; the hostile tests cover each."""


class HeaderValues(msgspec.Struct, frozen=True):
    """The parsed headers; repeated headers are joined."""

    credentials: Credentials
    content_type: str | None
    content_length: int | None
    content_encoding: str | None
    accept: str
    origin: str | None
    user_agent: str
    forwarded_for: str
    accept_language: str = ""
    repeated: str | None = None
    """A credential header that was sent twice, perhaps under an alias."""

    def require_single(self) -> Credentials:
        """The credentials.

        :raises MalformedRequest: 400, if a credential was sent twice, including aliases.
        """
        if self.repeated is not None:
            raise MalformedRequest("Two headers of one kind were sent.", field=self.repeated)
        return self.credentials

    @property
    def asks_for_graphql_json(self) -> bool:
        """Whether ``Accept`` names ``application/graphql-response+json`` (RFC 9110 §12.5.1: not with a weight of 0)."""
        if "graphql-response" not in self.accept.lower():
            return False
        for media_range in self.accept.lower().split(","):
            name, _, parameters = media_range.partition(";")
            if name.strip(" \t") == _GRAPHQL_JSON:
                return not _has_no_weight(parameters)
        return False


class HeaderReader:
    """Parses headers, with the credential header names from the settings."""

    def __init__(self, settings: Settings) -> None:
        self._kinds: dict[bytes, str] = {b"authorization": _AUTHORIZATION}
        self._kinds |= {name.encode("ascii"): _API_KEY for name in settings.api_key_headers}
        self._kinds |= {name.encode("ascii"): _BRAND for name in settings.brand_headers}
        self._trusted = settings.trusted_proxies
        self.names = PLAIN_HEADERS.union(self._kinds)
        """All headers that are read, in lower case."""

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> HeaderValues:
        """Parse the headers of a request.

        Repeated headers are joined with commas (RFC 9110 §5.3). Repeated credentials are rejected later, by
        ``require_single``: method and body are checked first.

        :raises MalformedRequest: 400, if ``Content-Length`` is not a number.
        """
        repeated: str | None = None
        found: dict[str, str] = {}
        sent: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            kind = self._kinds.get(name)
            if kind is None:
                if name in PLAIN_HEADERS:
                    sent.setdefault(name, []).append(value)
            elif kind in found:
                repeated = name.decode("ascii")
            else:
                found[kind] = value.decode("latin-1")
        plain = {name: b",".join(values) for name, values in sent.items()}
        return HeaderValues(
            Credentials(found.get(_AUTHORIZATION), found.get(_API_KEY), found.get(_BRAND)),
            _text(plain.get(b"content-type")),
            _length(plain.get(b"content-length")),
            _text(plain.get(b"content-encoding")),
            _text(plain.get(b"accept")) or "",
            _text(plain.get(b"origin")),
            (_text(plain.get(b"user-agent")) or "")[:LONGEST_USER_AGENT],
            _text(plain.get(b"x-forwarded-for")) or "",
            (_text(plain.get(b"accept-language")) or "")[:LONGEST_LANGUAGES],
            repeated,
        )

    def details(self, scope: Mapping[str, Any], values: HeaderValues) -> RequestDetails:
        """The client's address, and a new request id."""
        client = scope.get("client")
        # Only the right-most hops matter, and the header is a cache key of ``_locate``: bound its length.
        forwarded_for = values.forwarded_for[-LONGEST_FORWARDED:] if self._trusted else ""
        address, prefix = _locate(client[0] if client else "", forwarded_for, self._trusted)
        request_id = os.urandom(12).hex()
        return RequestDetails(request_id, address, prefix, values.user_agent, values.origin, values.accept_language)


NOTHING = HeaderValues(Credentials(None, None, None), None, None, None, "", None, "", "")
"""The values of a request whose headers were rejected."""


def _has_no_weight(parameters: str) -> bool:
    """Whether the lower-case parameters of a media range contain a weight of 0: ``q=0``, ``q=0.000``."""
    for parameter in parameters.split(";"):
        name, _, weight = parameter.partition("=")
        whole, _, fraction = weight.strip(" \t").partition(".")
        if name.strip(" \t") == "q" and whole == "0" and not fraction.strip("0"):
            return True
    return False


def locate_peer(peer: str) -> tuple[str, str]:
    """The peer's own address and prefix, ignoring headers; empty if it has no address."""
    return _locate(peer, "", ())


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit():
        raise MalformedRequest("The Content-Length header is not a number.")
    return int(value) if len(value) <= _LENGTH_DIGITS else 10**_LENGTH_DIGITS


@lru_cache(maxsize=4096)
def _locate(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> tuple[str, str]:
    """The client's address and its prefix (IPv4 /32, IPv6 /64); security §7.

    From a trusted peer, it is the right-most untrusted hop of ``X-Forwarded-For``; with an invalid hop, or from any
    other peer, it is the peer's own address.
    """
    own = _address(peer)
    if own is None:
        return "", ""
    chosen = own
    if any(own in network for network in trusted):
        for hop in reversed(forwarded_for.split(",") if forwarded_for else []):
            address = _address(hop.strip(" \t"))
            if address is None:
                chosen = own
                break
            chosen = address
            if not any(address in network for network in trusted):
                break
    if isinstance(chosen, ipaddress.IPv6Address):
        return str(chosen), str(ipaddress.ip_network((chosen, 64), strict=False))
    return str(chosen), str(chosen)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
