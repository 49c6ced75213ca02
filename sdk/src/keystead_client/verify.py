"""Offline verification of access tokens (RFC 9068) by the issuer's published keys.

A token is parsed as strictly as the server writes it: canonical base64url, a header of exactly ``{alg, typ, kid}``, a
payload of exactly our claims, all type-checked. JWT libraries accept much more (RFC 8725).

Anybody can make a second valid signature (r, n - s) of (r, s): a token is identified by its ``jti``, never by its text.
"""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import httpx

from keystead_client._jwks import ALGORITHM, PublishedKeys, is_signed, require_origin
from keystead_client._single_flight import RecentTokens
from keystead_client.errors import TokenExpired, TokenInvalid
from keystead_client.tokens import AUDIENCE

__all__ = ["Claims", "Verifier"]

TYPE: Final = "at+jwt"
LONGEST: Final = 2048
"""Characters of a token; the server makes none of more than 768."""

_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")
# The thumbprint of a key (RFC 7638): 32 bytes. Published keys have no other names.
_KID = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_BRAND_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST_QUOTED: Final = 100
"""Characters of an unverified claim that an error message quotes."""
_CLAIMS: Final = frozenset({"iss", "aud", "sub", "sid", "iat", "exp", "jti"})
# For all other reasons: a forger learns nothing from how a token fails.
_REFUSAL: Final = "not a valid access token of this issuer and brand"
_LATEST: Final = 2**53
# Base64url without padding, the unused bits of the last letter zero (RFC 4648 §3.5).
_LETTER = "[A-Za-z0-9_-]"
_PART = f"(?:{_LETTER}{{4}})*(?:{_LETTER}{{3}}{_LETTER}|{_LETTER}[AQgw]|{_LETTER}{{2}}[AEIMQUYcgkosw048])"
_TOKEN = re.compile(rf"({_PART})\.({_PART})\.{_LETTER}{{85}}[AQgw]")


class TokenFromFuture(TokenInvalid):
    """Issued in the future, by this computer's clock; may be valid if the clock is wrong."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified access token. Times are whole seconds since 1970, UTC."""

    user_id: str
    session_id: str
    brand_id: str
    issued_at: int
    expires_at: int
    token_id: str


def _parse(token: object, issuer: str, brand: str) -> tuple[str, Claims]:
    """The key that a token names, and its claims: neither is verified. Cheap checks come first.

    :raises TokenInvalid: not the shape of an access token, or of another issuer or brand. The message names that, since
        it is usually a mistake in the verifier's own arguments.
    """
    parts = _TOKEN.fullmatch(token) if isinstance(token, str) and len(token) <= LONGEST else None
    header, payload = (_json_object(parts[1]), _json_object(parts[2])) if parts else ({}, {})
    kid = header.get("kid")
    if not isinstance(kid, str) or not _KID.fullmatch(kid) or header != {"alg": ALGORITHM, "typ": TYPE, "kid": kid}:
        raise TokenInvalid(_REFUSAL)
    if payload.keys() != _CLAIMS:
        raise TokenInvalid(_REFUSAL)
    if payload["iss"] != issuer:
        raise _other("issuer", issuer, payload["iss"])
    if payload["aud"] != AUDIENCE + brand:
        raise _other("brand", brand, payload["aud"])
    claims = Claims(payload["sub"], payload["sid"], brand, payload["iat"], payload["exp"], payload["jti"])
    if not _is_sound(claims):
        raise TokenInvalid(_REFUSAL)
    return kid, claims


def _other(what: str, expected: str, found: object) -> TokenInvalid:
    """The claim is unverified: it may be anything, so it is quoted escaped and bounded."""
    if not isinstance(found, str):
        return TokenInvalid(_REFUSAL)
    quoted = found.removeprefix(AUDIENCE)
    quoted = quoted if len(quoted) <= _LONGEST_QUOTED else quoted[:_LONGEST_QUOTED] + "..."
    return TokenInvalid(f"an access token of another {what}: {quoted!a}, expected {expected!r}")


def _is_sound(claims: Claims) -> bool:
    ids: tuple[object, ...] = (claims.user_id, claims.session_id, claims.token_id)
    # `type(...) is int`: True is an instance of int.
    return (
        all(isinstance(value, str) and _ID.fullmatch(value) for value in ids)
        and type(claims.issued_at) is int
        and type(claims.expires_at) is int
        and 0 <= claims.issued_at < claims.expires_at <= _LATEST
    )


def _json_object(part: str) -> dict[str, Any]:
    """The JSON object in a base64url part: UTF-8, no duplicate names, no NaN; empty for anything else."""
    try:
        text = urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        value = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate name")
    return members


def _no_constant(constant: str) -> float:
    raise ValueError(constant)


class Verifier:
    """Verify access tokens of one issuer for one brand, offline. Thread-safe; needs ``keystead-client[verify]``.

    :param issuer: the server's ``KEYSTEAD_BASE_URL``, character for character: https, or http on this computer.
        ``localhost`` and ``127.0.0.1`` are two issuers.
    :param brand: the id of the brand (a UUID, as ``keystead brand list`` shows it), not its name; a token of another
        brand is refused.
    :param jwks_ttl: seconds after which the published keys are fetched again.
    :param max_stale: seconds for which cached keys are used while the issuer cannot be reached.
    :param leeway: seconds by which this computer's clock may differ from the issuer's.
    :param allow_http: the issuer may be plain http though it is another computer.
    :param transport: an httpx transport instead of TCP.
    :param clock: the time in seconds since 1970, for tests.
    :raises ValueError: an invalid argument.
    :raises ImportError: the extra is not installed.
    """

    def __init__(
        self,
        issuer: str,
        brand: str,
        *,
        jwks_ttl: float = 60,
        max_stale: float = 3600,
        leeway: float = 30,
        allow_http: bool = False,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not (isfinite(jwks_ttl) and isfinite(max_stale) and isfinite(leeway)):
            raise ValueError("jwks_ttl, max_stale, leeway: a number of seconds each")
        if min(jwks_ttl, leeway) < 0 or max_stale < jwks_ttl:
            raise ValueError("jwks_ttl and leeway are not negative, and max_stale is not below jwks_ttl")
        self._issuer = require_origin("issuer", issuer, allow_http)
        self._brand = str(brand)
        if not _BRAND_ID.fullmatch(self._brand):
            raise ValueError("brand: the id of a brand, as `keystead brand list` shows it (a UUID), not its name")
        self._leeway, self._clock = leeway, clock
        self._keys = PublishedKeys(self._issuer, transport, ttl=jwks_ttl, max_stale=max_stale, clock=clock)
        self._signed = RecentTokens(4096)

    def verify(self, token: str) -> Claims:
        """The claims of a valid token.

        :raises TokenExpired: the token has expired; a refresh may help.
        :raises TokenInvalid: not a valid token. For another issuer or brand the message names it: for a log only, since
            what it quotes of the token is not verified.
        :raises NetworkError: the issuer cannot be reached, and no cached key is recent enough.
        :raises ServerError: the same; the issuer's answer holds no keys.
        """
        kid, claims = _parse(token, self._issuer, self._brand)
        return self._checked(token, claims, self._keys.find(kid))

    async def verify_async(self, token: str) -> Claims:
        """As :meth:`verify`, without blocking the event loop."""
        kid, claims = _parse(token, self._issuer, self._brand)
        return self._checked(token, claims, await self._keys.find_async(kid))

    def close(self) -> None:
        """Close the connections that threads have opened; the verifier stays usable."""
        self._keys.close()

    async def aclose(self) -> None:
        """Close those, and the connections of this event loop."""
        await self._keys.aclose()

    def _checked(self, token: str, claims: Claims, key: Any | None) -> Claims:
        # The key is looked up each time; only its verdict on this token is cached, which saves some 100 µs.
        is_known = token in self._signed
        if key is None or not (is_known or is_signed(token, key)):
            raise TokenInvalid(_REFUSAL)
        if not is_known:
            self._signed.add(token)
        now = self._clock()
        if now >= claims.expires_at + self._leeway:
            raise TokenExpired("the access token has expired")
        if claims.issued_at > now + self._leeway:
            raise TokenFromFuture(_REFUSAL)
        return claims
