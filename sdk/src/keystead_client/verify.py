"""Whether an access token is good: by the issuer's published keys, or by asking the server.

How stale an answer can be:

===========  ==================================================  ================================================
mode         a session that was ended                            a signing key that was revoked
===========  ==================================================  ================================================
``offline``  is accepted until its access token expires, plus    is dropped within ``jwks_ttl`` (60 s) after the
             ``leeway``: that of a login after the brand's       issuer has ceased to publish it; while the issuer
             ``access_ttl`` (1 h if it sets nothing), one that   is away, within ``max_stale`` (1 h). It is asked
             ``getAccessToken`` made after what was asked for    every 10 s then
             (15 minutes if nothing was)
``online``   is accepted for one second at most                  is accepted for one second after the server has
                                                                 ceased to take it
===========  ==================================================  ================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import isfinite
from typing import Any, Final, Literal

from keystead_client.claims import Claims, Unverified, read, refused, require_brand_id
from keystead_client.endpoint import graphql_url
from keystead_client.jwks import PublishedKeys
from keystead_client.jwks_document import is_signed, require_joserfc
from keystead_client.online import OnlineCheck
from keystead_client.questions import Questions, Transport, require_origin
from keystead_client.remembered import Remembered

__all__ = ["Claims", "Verifier"]

TIMEOUT: Final = 5.0
"""Seconds that one question to the issuer may take."""
MOST_TOKENS: Final = 4096
"""Verified tokens that are remembered, least recently used out first."""


class Verifier:
    """Verifies access tokens of one issuer for one brand. Safe to share between tasks and threads.

    :param issuer: the server's ``KEYSTEAD_BASE_URL``, letter by letter: https, or http on this computer. ``localhost``
        and ``127.0.0.1`` are two.
    :param brand: the id of the brand (a UUID, as ``keystead brand list`` shows it), not its name; a token of another
        brand is refused.
    :param mode: ``"offline"`` needs the extra ``keystead-client[verify]``; ``"online"`` asks ``me``.
    :param jwks_ttl: seconds after which the published keys are fetched again.
    :param max_stale: seconds for which keys are believed while the issuer cannot be reached.
    :param leeway: seconds by which this computer's clock may differ from the issuer's.
    :param endpoint: where the server is reached, if not at the issuer's address; online only.
    :param allow_http: issuer and endpoint may be plain http though they are another computer.
    :param transport: an httpx transport instead of TCP.
    :param clock: the time in seconds since 1970, for tests.
    :raises ValueError: for arguments that cannot be right.
    :raises ImportError: offline without the extra.
    """

    def __init__(
        self,
        issuer: str,
        brand: str,
        *,
        mode: Literal["offline", "online"] = "offline",
        jwks_ttl: float = 60,
        max_stale: float = 3600,
        leeway: float = 30,
        endpoint: str | None = None,
        allow_http: bool = False,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if mode not in ("offline", "online"):
            raise ValueError('mode: "offline" or "online"')
        if not (isfinite(jwks_ttl) and isfinite(max_stale) and isfinite(leeway)):
            raise ValueError("jwks_ttl, max_stale, leeway: a number of seconds each")
        if min(jwks_ttl, leeway) < 0 or max_stale < jwks_ttl:
            raise ValueError("jwks_ttl and leeway are not negative, and max_stale is not below jwks_ttl")
        self._issuer = require_origin("issuer", issuer, allow_http=allow_http)
        self._brand = require_brand_id(brand)
        self._leeway, self._clock = leeway, clock
        self._questions = Questions(transport, TIMEOUT)
        self._check: OfflineCheck | OnlineCheck
        if mode == "online":
            url = graphql_url(endpoint or self._issuer, allow_http=allow_http)
            self._check = OnlineCheck(url, self._questions, TIMEOUT, clock)
            return
        require_joserfc()
        keys = PublishedKeys(
            self._issuer, self._questions, ttl=jwks_ttl, max_stale=max_stale, timeout=TIMEOUT, clock=clock
        )
        self._check = OfflineCheck(keys)

    def verify(self, token: str) -> Claims:
        """What the token says, if it is good.

        :raises TokenExpired: it was good once; a refresh may help.
        :raises NotAuthenticated: it is not good: TokenInvalid, or what the server said of it. Where issuer or brand is
            another, the message says which: for a log, since what it quotes of the token is not verified.
        :raises NetworkError: nobody can tell: the issuer cannot be reached, and what is known is not enough.
        :raises ServerError: the same, the issuer answering something else.
        :raises RateLimited: online: the server will not say at this moment.
        """
        unverified = read(token)
        claims = unverified.claims(self._issuer, self._brand)
        self._check.require(token, unverified, claims)
        claims.require_current(self._clock(), self._leeway)
        return claims

    async def verify_async(self, token: str) -> Claims:
        """As :meth:`verify`, without keeping the event loop waiting."""
        unverified = read(token)
        claims = unverified.claims(self._issuer, self._brand)
        await self._check.require_async(token, unverified, claims)
        claims.require_current(self._clock(), self._leeway)
        return claims

    def close(self) -> None:
        """Closes the connections that threads have opened; the verifier can be used again all the same."""
        self._questions.close()

    async def aclose(self) -> None:
        """Closes those, and the ones of this event loop."""
        await self._questions.aclose()


class OfflineCheck:
    """Whether a published key made the signature."""

    def __init__(self, keys: PublishedKeys) -> None:
        self._keys = keys
        self._signed = Remembered(MOST_TOKENS)

    def require(self, token: str, unverified: Unverified, claims: Claims) -> None:
        """:raises TokenInvalid: for a forgery; NetworkError, ServerError: the keys cannot be had."""
        self._require_signature(token, self._keys.find(unverified.kid))

    async def require_async(self, token: str, unverified: Unverified, claims: Claims) -> None:
        """As :meth:`require`."""
        self._require_signature(token, await self._keys.find_async(unverified.kid))

    def _require_signature(self, token: str, key: Any | None) -> None:
        """The key is looked for each time; only what it says of this token is remembered, sparing some 100 µs."""
        if key is None:
            raise refused()
        if token in self._signed:
            return
        if not is_signed(token, key):
            raise refused()
        self._signed.add(token)
