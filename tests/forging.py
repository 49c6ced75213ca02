"""Forge access tokens: with the server's own key, right in everything but what a test changes."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

from keystead.context import Server
from keystead.crypto.signing import SigningKey
from keystead.sessions.model import Opened

MISSING = object()
"""Leaves a member out."""
AUDIENCE = "urn:keystead:brand:"

Sign = Callable[[bytes], bytes]


class Forge:
    """Makes access tokens; ``good`` is accepted."""

    def __init__(self, key: SigningKey, issuer: str, now: datetime, *, brand: str, user: str, session: str) -> None:
        self.key = key
        seconds = int(now.timestamp())
        self.header: dict[str, Any] = {"alg": "ES256", "typ": "at+jwt", "kid": key.kid}
        self.payload: dict[str, Any] = {
            "iss": issuer, "aud": AUDIENCE + brand, "sub": user, "sid": session, "iat": seconds, "exp": seconds + 900,
            "jti": "0190a000-0000-7000-8000-000000000003",
        }  # fmt: skip

    @classmethod
    def of(cls, server: Server, opened: Opened) -> Self:
        """A forge for a session of ``server`` that is alive, with the key that signs there."""
        ids = {"brand": opened.brand_id, "user": opened.user_id, "session": opened.session_id}
        return cls(server.keyring.active, server.settings.base_url, server.clock.now(), **ids)

    @property
    def good(self) -> str:
        """The token without any change."""
        return self.token()

    def token(self, header: Any = None, payload: Any = None, sign: Sign | None = None) -> str:
        """Signed with the server's key unless ``sign`` is given. ``header`` and ``payload`` may be bytes."""
        parts = (self.header if header is None else header, self.payload if payload is None else payload)
        message = ".".join(encode(as_json(part)) for part in parts)
        return f"{message}.{encode((sign or self.key.signature)(message.encode()))}"

    def with_header(self, sign: Sign | None = None, **changes: Any) -> str:
        """Some members of the header changed, added, or left out (MISSING)."""
        return self.token(header=_changed(self.header, changes), sign=sign)

    def with_payload(self, **changes: Any) -> str:
        """Some claims changed, added, or left out (MISSING)."""
        return self.token(payload=_changed(self.payload, changes))


def encode(value: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(value).decode().rstrip("=")


def decode(part: str) -> bytes:
    """The bytes of base64url without padding."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def as_json(value: Any) -> bytes:
    """Bytes as they are, anything else as JSON."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _changed(original: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (original | changes).items() if value is not MISSING}
