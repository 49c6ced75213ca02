"""CSRF and open-redirect protection of the hosted pages (security §10, A54).

Login CSRF: another site could post a form with its author's own link, and the visitor would continue in the author's
account. Three checks prevent it: ``Sec-Fetch-Site``, ``Origin``, and a per-token HMAC field. ``Origin: null`` proves
nothing: with ``Referrer-Policy: no-referrer`` our own page sends it, too (Fetch Standard, "append a request Origin
header").
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from keystead.crypto.master_key import MasterKey
from keystead.crypto.secrets import Secret
from keystead.errors import OriginRefused

# What can be a source in a Content-Security-Policy (CSP 3 §2.3.1), without IPv6 addresses: browsers would not follow
# the form's redirect to any other host.
_TARGET = re.compile(r"https?://[A-Za-z0-9._-]+(?::[0-9]{1,5})?(?:[/?][!-~]*)?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def require_same_site(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """:raises OriginRefused: when ``Sec-Fetch-Site`` is not ``same-origin`` (Fetch Metadata §2.3)."""
    sites = [value for name, value in headers if name == b"sec-fetch-site"]
    if any(site != b"same-origin" for site in sites):
        raise OriginRefused("This form was sent from another site.", cause="sec-fetch-site")


def require_own_origin(origin: str | None, *base_urls: str | None) -> None:
    """:raises OriginRefused: when ``Origin`` is not the origin of one of ``base_urls``."""
    if origin in (None, "null"):
        return
    if origin not in {origin_of(url) for url in base_urls if url}:
        raise OriginRefused("This form was sent from another site.", cause="origin")


class FormSeal:
    """The CSRF token of a form: an HMAC of the link's token and kind, in the hidden field ``seal``."""

    def __init__(self, master_key: MasterKey) -> None:
        self._key = master_key.derive("page-form")

    def seal(self, secret: Secret) -> str:
        """64 hexadecimal digits."""
        message = b"%s\0%s" % (secret.kind.value.encode(), secret.digest())
        return hmac.new(self._key, message, "sha256").hexdigest()

    def require(self, secret: Secret, raw: str | None) -> None:
        """:raises OriginRefused: unless ``raw`` is the seal of this token; compared in constant time."""
        if not hmac.compare_digest(self.seal(secret).encode(), (raw or "").encode()):
            raise OriginRefused("This form was not made here.", cause="seal")


def choose_target(raw: str | None, listed: Sequence[str]) -> str | None:
    """``raw`` if it is exactly one of the brand's redirect URLs, else the first of them, else None.

    Compared as text, not normalized: two parsers may normalize a URL differently.
    """
    targets = [url for url in listed if _is_target(url)]
    return raw if raw in targets else next(iter(targets), None)


def origin_of(url: str) -> str:
    """Scheme, host and port as a browser writes them in ``Origin`` (RFC 6454 §6.2).

    :raises ValueError: when ``url`` has no readable host or port.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("a URL without a host has no origin")
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
