"""One pass over the headers of a request: which credentials it carries, where it comes from, what it sends."""

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
"""A longer Content-Length is too large, whatever it says exactly."""

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
"""The headers that are read besides those of credentials. The tests send hostile values in each."""


class HeaderValues(msgspec.Struct, frozen=True):
    """The headers that matter here, as text; ``forwarded_for`` is all of them joined."""

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
    """A credential header that came a second time, perhaps under an alias."""

    def require_single(self) -> Credentials:
        """The credentials.

        :raises MalformedRequest: 400, for two headers of one kind, aliases included.
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
    """Reads headers by the names that the settings give."""

    def __init__(self, settings: Settings) -> None:
        self._kinds: dict[bytes, str] = {b"authorization": _AUTHORIZATION}
        self._kinds |= {name.encode("ascii"): _API_KEY for name in settings.api_key_headers}
        self._kinds |= {name.encode("ascii"): _BRAND for name in settings.brand_headers}
        self._trusted = settings.trusted_proxies
        self.names = PLAIN_HEADERS.union(self._kinds)
        """Every header that is read, in lower case."""

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> HeaderValues:
        """The headers of a request.

        Several headers of one name are one with commas (RFC 9110 §5.3), so that none of them decides alone; several
        credentials of one kind are only noted: method and body are judged first.

        :raises MalformedRequest: 400, when ``Content-Length`` is no number.
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
        """Where this request comes from, with a new id of ours."""
        client = scope.get("client")
        # The right-most hops decide; a header of any length would be kept with the place that was worked out from it.
        forwarded_for = values.forwarded_for[-LONGEST_FORWARDED:] if self._trusted else ""
        address, prefix = _place(client[0] if client else "", forwarded_for, self._trusted)
        request_id = os.urandom(12).hex()
        return RequestDetails(request_id, address, prefix, values.user_agent, values.origin, values.accept_language)


NOTHING = HeaderValues(Credentials(None, None, None), None, None, None, "", None, "", "")
"""The values of a request whose headers were refused."""


def _has_no_weight(parameters: str) -> bool:
    """Whether the parameters of a media range, in lower case, hold a weight of 0: ``q=0``, ``q=0.000``."""
    for parameter in parameters.split(";"):
        name, _, weight = parameter.partition("=")
        whole, _, fraction = weight.strip(" \t").partition(".")
        if name.strip(" \t") == "q" and whole == "0" and not fraction.strip("0"):
            return True
    return False


def locate_peer(peer: str) -> tuple[str, str]:
    """The address of a peer and its prefix, whatever headers it may send; empty where it has none."""
    return _place(peer, "", ())


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit():
        raise MalformedRequest("The Content-Length header is not a number.")
    return int(value) if len(value) <= _LENGTH_DIGITS else 10**_LENGTH_DIGITS


@lru_cache(maxsize=4096)
def _place(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> tuple[str, str]:
    """The client's address and its prefix (IPv4 /32, IPv6 /64); security §7.

    ``X-Forwarded-For`` counts only behind a trusted peer: its right-most untrusted hop. An unreadable hop
    leaves the peer's own address.
    """
    here = _address(peer)
    if here is None:
        return "", ""
    chosen = here
    if any(here in network for network in trusted):
        for hop in reversed(forwarded_for.split(",") if forwarded_for else []):
            address = _address(hop.strip(" \t"))
            if address is None:
                chosen = here
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
