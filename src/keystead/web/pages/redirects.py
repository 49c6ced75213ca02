"""Where a page may send the browser afterwards: addresses that the brand has listed, letter for letter. A54."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

# What may stand in a Content-Security-Policy as a source (CSP 3 §2.3.1), IPv6 addresses not among it: to any other
# host no browser would follow the form's redirect.
_TARGET = re.compile(r"https?://[A-Za-z0-9._-]+(?::[0-9]{1,5})?(?:[/?][!-~]*)?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def choose_target(raw: str | None, listed: Sequence[str]) -> str | None:
    """``raw`` if it is one of the brand's addresses exactly, else the first of them, else None.

    Nothing is normalised: whatever is read alike by one reader and otherwise by another is simply not on the list.
    """
    targets = [url for url in listed if _is_target(url)]
    return raw if raw in targets else next(iter(targets), None)


def origin_of(url: str) -> str:
    """Scheme, host and port as a browser writes them in ``Origin`` (RFC 6454 §6.2).

    :raises ValueError: when ``url`` has no readable host or port.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("an address without a host has no origin")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _is_target(url: str) -> bool:
    if _TARGET.fullmatch(url) is None or "#" in url or "\\" in url:
        return False
    try:
        return bool(origin_of(url))
    except ValueError:
        return False
