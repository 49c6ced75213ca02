"""Parse host names and addresses of settings. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

LONGEST_NAME: Final = 253
"""RFC 1035 §2.3.4, without the root's dot."""

# RFC 1123 §2.1, and underscores, which occur in private networks.
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}", re.ASCII)
_PLACE = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)


def parse_place(text: str) -> tuple[str, int | None]:
    """Parse ``host``, ``host:port`` or ``[IPv6]:port``: the host lower-cased, without brackets.

    :raises ValueError: for anything else, without quoting it: it may be part of a password.
    """
    place = _PLACE.fullmatch(text.lower())
    port = int(place["port"]) if place and place["port"] else None
    if place is None or (port is not None and not 1 <= port <= 65_535):
        raise ValueError("not a host with a port")
    if place["address"]:
        return str(_ipv6(place["address"])), port
    if not _is_host(place["name"]):
        raise ValueError("not a host")
    return place["name"], port


def _ipv6(text: str) -> ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("not an IPv6 address") from None


def _is_host(name: str) -> bool:
    # A last label of digits is an IPv4 address or an error.
    if name.rpartition(".")[2].isdigit():
        try:
            return bool(ipaddress.IPv4Address(name))
        except ValueError:
            return False
    return len(name) <= LONGEST_NAME and bool(_NAME.fullmatch(name))
