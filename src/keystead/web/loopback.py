"""Whether a request was sent by a browser on this machine to this machine, and by nobody in between."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final

_HERE: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_HTTP_PORT: Final = 80
_FORWARDED: Final = frozenset({b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip"})
_FORWARDED_PREFIX: Final = b"x-forwarded-"


def is_from_this_machine(scope: Mapping[str, Any]) -> bool:
    """Whether the peer is the loopback, no proxy left its mark, and ``Host`` is a name of the loopback with our port.

    The name matters as much as the address: a page of a name that was made to point here (DNS rebinding) is, to the
    browser, of one origin with whatever it asks us for.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return (
        _is_loopback(scope.get("client"))
        and len(hosts) == 1
        and _is_our_name(hosts[0].decode("latin-1"), scope.get("server"))
        and not any(name in _FORWARDED or name.startswith(_FORWARDED_PREFIX) for name, _ in scope["headers"])
    )


def _is_loopback(peer: tuple[str, int] | None) -> bool:
    try:
        address = ipaddress.ip_address(peer[0] if peer else "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_our_name(host: str, here: tuple[str, int | None] | None) -> bool:
    found = _HERE.fullmatch(host)
    return found is not None and here is not None and int(found[1] or _HTTP_PORT) == here[1]
