"""How many connections a process takes, how long each may take, and how much it may send before it is answered."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from ipaddress import ip_network

import structlog

from keystead.settings import Network, Settings

MOST_DESCRIPTORS = 1 << 20
"""What an unlimited hard limit counts as: the kernel's own default for one process."""
MOST_CONNECTIONS = 8192
"""The largest default, by memory: an idle connection costs about 6 KiB, one that holds back the end of its body 80 KiB,
which makes 640 MiB of all, and 160 MiB of those from one address prefix. Many systems let a process open a million."""
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_log = structlog.get_logger("keystead.connections")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What connections may take: numbers, bytes, and seconds."""

    connections: int = 1024
    exempt: tuple[Network, ...] = _LOOPBACK
    """Peers that speak for many clients: proxies. They count in the total, but not by their prefix."""
    keep_alive: float = 75.0
    first_byte: float = 5.0
    head: float = 10.0
    body: float = 20.0
    """From the end of the head. Where the body is read, 408 comes first: ``request_body.LONGEST_READ``."""
    answer: float = 30.0
    """From a complete answer, or one that its client has to read before it can be completed."""
    discard: float = 2.0
    largest_head: int = 32 * 1024
    """Bytes of the request line and the headers; those of trailers are counted apart."""
    most_headers: int = 100
    most_pipelined: int = 32
    """Requests that wait for the answers before theirs on one connection; what arrives behind them is not parsed."""
    most_held: int = 64 * 1024 * 1024
    """Bytes that are not parsed yet, in all connections of the process. One read is up to 256 KiB."""
    largest_rest: int = 1024 * 1024
    """Bytes after the head. The application refuses a body of far fewer; the rest is read and discarded up to here,
    so that the client can read why."""

    @property
    def per_prefix(self) -> int:
        """Connections from one address prefix (IPv4 /32, IPv6 /64)."""
        return max(1, self.connections // 4)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard one; the limit from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            # macOS names a hard limit that its kernel does not grant.
            return soft
    return wanted


def bounds_for(settings: Settings, descriptors: int) -> Bounds:
    """The bounds that the settings give to a process with so many descriptors."""
    most = max(1, descriptors * 9 // 10)
    wanted = settings.max_connections
    if wanted is not None and wanted > most:
        _log.warning("max_connections_lowered", reason=f"{descriptors} descriptors leave room for {most} connections")
    return Bounds(
        connections=min(wanted or MOST_CONNECTIONS, most),
        exempt=(*settings.trusted_proxies, *_LOOPBACK),
        keep_alive=settings.keep_alive,
    )
