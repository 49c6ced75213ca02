"""Where plain http is no risk: on this very computer."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import httpx


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
