"""Which pages may send what changes something, or open a WebSocket: no browser asks first (RFC 6455, 10.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST = 300
"""Characters: a name has at most 253. A longer text is not parsed, which may take quadratic time."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


class OriginRules:
    """The origins besides the application's own, as in ``https://www.example.com`` or ``capacitor://localhost``.

    Raises ``ValueError`` for what is no origin, ``TypeError`` for one string in place of many.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        if isinstance(allowed, str):
            raise TypeError("origins are given as a tuple, for example ('https://www.example.com',)")
        given = tuple(allowed)
        self._read: set[tuple[str, str, int]] = set()
        for origin in given:
            read = _read(origin)
            if read is None:
                raise ValueError(f"{origin!r} is not an origin such as 'https://www.example.com'")
            self._read.add(read)

    def includes(self, origin: str | None) -> bool:
        """Whether it is one of those."""
        return origin is not None and _read(origin) in self._read

    def allow(self, origin: str | None, scheme: str, host: str) -> bool:
        """Whether a page of this origin may come in at a request's ``scheme`` and ``Host``.

        None: no browser sent it, or no page. ``null``, of a page that hides where it is from, is another origin.
        """
        if origin is None:
            return True
        asking = _read(origin)
        if asking is None:
            return False
        if asking in self._read:
            return True
        if asking[0] not in _DEFAULT_PORTS:
            # An app or an extension: whatever it names behind its scheme is no host, and not ours.
            return False
        # A proxy that speaks TLS for us may hide that it does: plain text proves nothing, but TLS does.
        if scheme in ("https", "wss") and asking[0] != "https":
            return False
        own = _read(f"{asking[0]}://{host}")
        return own is not None and asking == own


def _read(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for anything that has more, or less."""
    if len(origin) > _LONGEST:
        return None
    scheme, separator, rest = origin.strip(" \t").lower().partition("://")
    if not separator or not _SCHEME.fullmatch(scheme) or any(mark in rest for mark in "/?#@\\, \t*"):
        return None
    if scheme in ("ws", "wss", "file"):
        # What pages are asked for by, or hide: none has it as its origin.
        return None
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return (scheme, host, port or _DEFAULT_PORTS.get(scheme, 0)) if host else None
