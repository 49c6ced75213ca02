"""Access tokens: JWTs of type ``at+jwt`` (RFC 9068), ES256, with exactly the claims of security §1.

Tokens are signed with `cryptography` directly, since every login and refresh does it; the result is an ordinary JWS.
Verification does the cheapest checks first: length, shape, header, ``kid``, then the signature by joserfc, then the
types of the claims. It returns None for every failure, so that callers learn nothing from how it fails.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from joserfc.errors import JoseError
from joserfc.jws import deserialize_compact

from keystead.crypto.signing import ALGORITHM, SigningKey, VerificationKey
from keystead.errors import SettingsError

TYPE: Final = "at+jwt"
LONGEST_MADE: Final = 768
LONGEST_READ: Final = 2048
CLOCK_DIFFERENCE: Final = 5
"""Leeway of ``iat`` in seconds, since nodes only measure the database's clock. ``exp`` has none."""
THUMBPRINT_LENGTH: Final = 43
"""Of a ``kid``: SHA-256 in base64url (RFC 7638)."""

_AUDIENCE: Final = "urn:keystead:brand:"
_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")
_CLAIMS: Final = frozenset({"iss", "aud", "sub", "sid", "iat", "exp", "jti"})
_LATEST: Final = 2**53
_SIGNATURE_LENGTH: Final = 1 + 86
# Base64url without padding, the unused bits of the last letter zero (RFC 4648 §3.5): one text per token.
_LETTER = "[A-Za-z0-9_-]"
_PART = f"(?:{_LETTER}{{4}})*(?:{_LETTER}{{3}}{_LETTER}|{_LETTER}[AQgw]|{_LETTER}{{2}}[AEIMQUYcgkosw048])"
_TOKEN = re.compile(rf"({_PART})\.({_PART})\.{_LETTER}{{85}}[AQgw]")
_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
# Of the characters that JSON leaves unescaped, only these can encode to '-' or '_' (62 and 63 of base64url). Escaped,
# they cannot, and clients that decode the payload with plain base64 work too (contract §2).
_ESCAPES = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in ">?~"})


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of an access token. Times are whole seconds since 1970, UTC."""

    brand_id: str
    user_id: str
    session_id: str
    issued_at: int
    expires_at: int
    token_id: str

    def is_expired(self, now: datetime) -> bool:
        """Whether the token has expired: from the second ``expires_at`` on (RFC 7519 §4.1.4), without leeway."""
        return now.timestamp() >= self.expires_at


class Verified(NamedTuple):
    """The claims of a verified token, and the ``kid`` of its key."""

    claims: Claims
    kid: str


def sign(key: SigningKey, claims: Claims, issuer: str) -> str:
    """Sign an access token: at most 768 bytes, no ``-`` or ``_`` in the payload part.

    :raises ValueError: when :func:`verify` would not accept a claim, or the issuer makes the token too long.
    """
    if not _is_valid(claims):
        raise ValueError("ids are 1..64 of A-Z a-z 0-9 . _ -, and a token expires after it is issued")
    message = _message(key.kid, claims, issuer)
    if not _fits(message):
        raise ValueError(f"the issuer is too long for an access token of at most {LONGEST_MADE} bytes")
    return f"{message.decode()}.{_base64url(key.signature(message)).decode()}"


def require_usable_issuer(issuer: str) -> None:
    """Check the issuer once, at start.

    :raises SettingsError: when access tokens with this issuer would be longer than 768 bytes.
    """
    uuid, kid = "0" * 36, "0" * 43
    if not _fits(_message(kid, Claims(uuid, uuid, uuid, _LATEST, _LATEST, uuid), issuer)):
        raise SettingsError("KEYSTEAD_BASE_URL: too long to be the issuer of access tokens")


def verify(raw: str | None, keyring: Mapping[str, VerificationKey], issuer: str, now: datetime) -> Claims | None:
    """The claims of a valid access token, else None. Never raises, whatever ``raw`` holds."""
    verified = check(raw, keyring, issuer, now)
    return verified.claims if verified else None


def check(raw: str | None, keyring: Mapping[str, VerificationKey], issuer: str, now: datetime) -> Verified | None:
    """As :func:`verify`, with the ``kid`` of the key that signed."""
    if not isinstance(raw, str) or len(raw) > LONGEST_READ:
        return None
    parts = _TOKEN.fullmatch(raw)
    kid = _kid(parts[1]) if parts else None
    key = keyring.get(kid) if kid is not None else None
    if parts is None or kid is None or key is None or not _is_signed(raw, key):
        return None
    claims = _claims(_json_object(parts[2]), issuer)
    if claims is None or claims.is_expired(now) or claims.issued_at > now.timestamp() + CLOCK_DIFFERENCE:
        return None
    return Verified(claims, kid)


def names_unknown_key(raw: str, keyring: Mapping[str, VerificationKey]) -> bool:
    """Whether the token is well formed and its ``kid`` could be that of a key that the keyring does not hold yet."""
    parts = _TOKEN.fullmatch(raw) if len(raw) <= LONGEST_READ else None
    kid = _kid(parts[1]) if parts else None
    if kid is None or kid in keyring or len(kid) != THUMBPRINT_LENGTH:
        return False
    return kid.isascii() and kid.replace("-", "").replace("_", "").isalnum()


def _is_signed(raw: str, key: VerificationKey) -> bool:
    try:
        deserialize_compact(raw, key.joserfc_key, algorithms=[ALGORITHM])
    except (JoseError, ValueError, TypeError, RecursionError):
        return False
    return True


def _kid(header_part: str) -> str | None:
    """The ``kid`` of a header that is exactly ``{alg, typ, kid}`` with our values, in any order."""
    header = _json_object(header_part)
    kid = header.get("kid") if header else None
    if not isinstance(kid, str) or header != {"alg": ALGORITHM, "typ": TYPE, "kid": kid}:
        return None
    return kid


def _claims(payload: dict[str, Any] | None, issuer: str) -> Claims | None:
    """The payload as claims: exactly ours, of the right types, with the expected ``iss``."""
    if payload is None or payload.keys() != _CLAIMS or payload["iss"] != issuer:
        return None
    audience = payload["aud"]
    if not isinstance(audience, str) or not audience.startswith(_AUDIENCE):
        return None
    claims = Claims(
        brand_id=audience.removeprefix(_AUDIENCE),
        user_id=payload["sub"],
        session_id=payload["sid"],
        issued_at=payload["iat"],
        expires_at=payload["exp"],
        token_id=payload["jti"],
    )
    return claims if _is_valid(claims) else None


def _is_valid(claims: Claims) -> bool:
    ids: tuple[object, ...] = (claims.brand_id, claims.user_id, claims.session_id, claims.token_id)
    # `type(...) is int`: True is an instance of int.
    return (
        all(isinstance(value, str) and _ID.fullmatch(value) for value in ids)
        and type(claims.issued_at) is int
        and type(claims.expires_at) is int
        and 0 <= claims.issued_at < claims.expires_at <= _LATEST
    )


def _json_object(part: str) -> dict[str, Any] | None:
    """The JSON object in a base64url part: UTF-8, no duplicate names, no NaN; None for anything else."""
    try:
        text = urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        value = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate name")
    return members


def _reject_constant(constant: str) -> float:
    raise ValueError(constant)


def _message(kid: str, claims: Claims, issuer: str) -> bytes:
    """The signing input: header and payload, encoded."""
    payload = _ENCODER.encode(
        {
            "iss": issuer,
            "aud": _AUDIENCE + claims.brand_id,
            "sub": claims.user_id,
            "sid": claims.session_id,
            "iat": claims.issued_at,
            "exp": claims.expires_at,
            "jti": claims.token_id,
        }
    )
    return _header(kid) + _base64url(payload.translate(_ESCAPES).encode())


def _fits(message: bytes) -> bool:
    return len(message) + _SIGNATURE_LENGTH <= LONGEST_MADE


@lru_cache(maxsize=16)
def _header(kid: str) -> bytes:
    text = _ENCODER.encode({"alg": ALGORITHM, "typ": TYPE, "kid": kid})
    return _base64url(text.encode()) + b"."


def _base64url(value: bytes) -> bytes:
    return urlsafe_b64encode(value).rstrip(b"=")
