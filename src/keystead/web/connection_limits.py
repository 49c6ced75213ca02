"""Limits on connections: how many, for how long, and how much each may send."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from ipaddress import ip_network

import structlog

from keystead.settings import Network, Settings

MAX_DESCRIPTORS = 1 << 20
"""Stands for an unlimited hard limit: the kernel's default maximum for one process."""
MAX_DEFAULT_CONNECTIONS = 8192
"""The largest default, by memory: an idle connection costs about 6 KiB, one that withholds the end of its body 80 KiB.
That is 640 MiB for all connections, 160 MiB for those of one address prefix."""
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_log = structlog.get_logger("keystead.connections")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Numbers, sizes in bytes, and timeouts in seconds."""

    connections: int = 1024
    exempt: tuple[Network, ...] = _LOOPBACK
    """Proxies: peers that carry the requests of many clients. They count in the total, but not per prefix."""
    keep_alive: float = 75.0
    first_byte: float = 5.0
    head: float = 10.0
    body: float = 20.0
    """From the end of the head. Where the application reads the body, ``request_body.LONGEST_READ`` ends it first."""
    response: float = 30.0
    """For the client to read: from a complete response, or from one that cannot be written further."""
    discard: float = 2.0
    head_bytes: int = 32 * 1024
    """Request line and headers. Trailers are counted separately."""
    headers: int = 100
    pipelined: int = 32
    """Requests per connection that wait for the responses before theirs; what arrives after them is not parsed."""
    unparsed_bytes: int = 64 * 1024 * 1024
    """Received and not parsed yet, in all connections of the process. One read is up to 256 KiB."""
    discarded_bytes: int = 1024 * 1024
    """After the head. The application rejects a body of far fewer; up to here the rest is read and discarded, so that
    the client can read the rejection."""

    @property
    def per_prefix(self) -> int:
        """Connections per address prefix (IPv4 /32, IPv6 /64)."""
        return max(1, self.connections // 4)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard limit; return the new soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            # macOS reports a hard limit that its kernel does not grant.
            return soft
    return wanted


def limits_for(settings: Settings, descriptors: int) -> ConnectionLimits:
    """The limits that the settings give to a process with so many descriptors."""
    most = max(1, descriptors * 9 // 10)
    wanted = settings.max_connections
    if wanted is not None and wanted > most:
        _log.warning("max_connections_lowered", reason=f"{descriptors} descriptors leave room for {most} connections")
    return ConnectionLimits(
        connections=min(wanted or MAX_DEFAULT_CONNECTIONS, most),
        exempt=(*settings.trusted_proxies, *_LOOPBACK),
        keep_alive=settings.keep_alive,
    )
