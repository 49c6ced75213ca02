"""Whether a form was sent from our own page: what stands between a link and a login that nobody meant (security §10).

A page elsewhere could post its maker's own link, and its visitor would go on in an account that is not theirs. The
browser says where a form was sent from. ``Origin: null`` says nothing: with ``Referrer-Policy: no-referrer`` that is
what comes from our own page, too (Fetch Standard, "append a request Origin header").
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from keystead.crypto.master_key import MasterKey
from keystead.crypto.secrets import Secret
from keystead.errors import OriginRefused
from keystead.web.pages.redirects import origin_of


def require_same_site(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """:raises OriginRefused: when the browser says that the request comes from elsewhere (Fetch Metadata §2.3)."""
    sites = [value for name, value in headers if name == b"sec-fetch-site"]
    if any(site != b"same-origin" for site in sites):
        raise OriginRefused("This form was sent from another site.", cause="sec-fetch-site")


def require_own_origin(origin: str | None, *base_urls: str | None) -> None:
    """:raises OriginRefused: when ``Origin`` names a place that is none of ours."""
    if origin in (None, "null"):
        return
    if origin not in {origin_of(url) for url in base_urls if url}:
        raise OriginRefused("This form was sent from another site.", cause="origin")


class FormSeal:
    """The hidden field that says: this server wrote the form, for this token and this kind of page."""

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
