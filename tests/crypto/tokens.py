"""Access tokens made by hand: right in all but the one thing that a test changes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from keystead.crypto import jwt
from keystead.crypto.jwt import Claims
from keystead.crypto.signing import SigningKey

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ISSUER = "https://auth.example.com"
BRAND, USER, SESSION, TOKEN = (f"0190a000-0000-7000-8000-00000000000{digit}" for digit in range(4))
KEY = SigningKey.generate()
KEYS = {KEY.kid: KEY.verification}
GOOD = jwt.sign(KEY, Claims(BRAND, USER, SESSION, SECONDS, SECONDS + 900, TOKEN), ISSUER)
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid}
PAYLOAD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": f"urn:keystead:brand:{BRAND}",
    "sub": USER,
    "sid": SESSION,
    "iat": SECONDS,
    "exp": SECONDS + 900,
    "jti": TOKEN,
}
MISSING = object()


def verified(raw: Any) -> Claims | None:
    return jwt.verify(raw, KEYS, ISSUER, NOW)


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def as_json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def signed(header: Any, payload: Any, sign: Callable[[bytes], bytes] = KEY.signature) -> str:
    """A token whose signature is right: only its content is wrong."""
    message = f"{encoded(as_json(header))}.{encoded(as_json(payload))}"
    return f"{message}.{encoded(sign(message.encode()))}"


def with_change(original: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    changed = original | {name: value}
    return {key: value for key, value in changed.items() if value is not MISSING}


def flipped(part: str, bit: int) -> str:
    value = bytearray(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    value[bit // 8] ^= 1 << (bit % 8)
    return encoded(bytes(value))
