"""LRU cache of verified access tokens: saves the ~100 µs of ES256, and nothing else (security §1).

A hit still checks expiry and keyring, and the caller still reads the session row. Cache keys are digests: no token is
held.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime

from keystead.crypto import jwt
from keystead.crypto.jwt import Claims, Verified
from keystead.crypto.signing import VerificationKey


class TokenCache:
    """Bounded LRU cache for one issuer. Not thread-safe: it belongs to one event loop."""

    def __init__(self, maxsize: int = 8192) -> None:
        self._maxsize = maxsize
        self._entries: OrderedDict[bytes, Verified] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def verify(
        self, raw: str | None, keyring: Mapping[str, VerificationKey], issuer: str, now: datetime
    ) -> Claims | None:
        """As :func:`keystead.crypto.jwt.verify`, but cached."""
        if not isinstance(raw, str) or len(raw) > jwt.LONGEST_READ:
            return None
        digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).digest()
        known = self._entries.get(digest)
        if known is None:
            return self._verify_new(digest, raw, keyring, issuer, now)
        if known.claims.is_expired(now) or known.kid not in keyring:
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return known.claims

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()

    def _verify_new(
        self, digest: bytes, raw: str, keyring: Mapping[str, VerificationKey], issuer: str, now: datetime
    ) -> Claims | None:
        verified = jwt.check(raw, keyring, issuer, now)
        if verified is None:
            return None
        self._entries[digest] = verified
        if len(self._entries) > self._maxsize:
            self._entries.popitem(last=False)
        return verified.claims
