"""Checking a browser's tokens at the server: cached, coalesced, and behind a circuit breaker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Final

from keystead_client._protocol import limit_retry_wait
from keystead_client._single_flight import RecentTokens, Share, SingleFlight
from keystead_client._transport import OutageLog, PoolTimeout
from keystead_client.async_client import AsyncClient
from keystead_client.cookies import CookieTokens, set_cookies
from keystead_client.errors import (
    NotAuthenticated,
    RefreshTokenExpired,
    RefreshTokenInvalid,
    RefreshTokenReused,
    ServerBusy,
    ServerError,
    Timeout,
    TokenExpired,
    Unauthorized,
)
from keystead_client.tokens import Tokens
from keystead_client.verify import TokenFromFuture, Verifier

User = Mapping[str, Any]
"""``id`` and ``email``; only the ``id`` if a verifier checked the token."""

# Times are in seconds.
TIMEOUT: Final = 5.0  # for one call: a browser and an application worker are waiting
RETRIES: Final = 1
MAX_RETRY_WAIT: Final = 0.2  # a call whose Retry-After is longer is not retried
MAX_LOGINS: Final = 16  # concurrent, of one process: they are slow by design and must not take every connection
REFRESH_TTL: Final = 10.0  # the server's default grace for a rotated token
CHECK_TTL: Final = 1.0  # how long a revoked token may still pass, from the start of the call, not from its answer
REPLACED_TTL: Final = 60.0  # after a login, in which responses to requests with the old cookies may still arrive
TIMEOUTS_TO_OPEN: Final = 3
TIMEOUT_WINDOW: Final = 60.0
PROBE_INTERVAL: Final = 1.0
PROBE_LEASE: Final = 30.0  # after which a probe whose event loop was stopped no longer blocks the next one

_SECRET_PREFIX: Final = "ks_"
_SESSION_IS_OVER: Final = (RefreshTokenInvalid, RefreshTokenExpired, RefreshTokenReused)


class CircuitBreaker:
    """Circuit breaker: fail fast while the server hangs, instead of blocking every worker until the timeout.

    Three timeouts within a minute, one after another and without a success, open it; then one probe a second is let
    through, and a success closes it. A rejection does not, since a server whose database hangs rejects made-up tokens
    right away, but the next call may probe immediately. Logins have their own probe and their timeouts do not count,
    because any visitor can make slow ones.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._timeouts: tuple[float, ...] = ()
        self._next_probe = {"token": 0.0, "login": 0.0}

    @property
    def is_open(self) -> bool:
        """Whether calls fail fast."""
        timeouts = self._timeouts
        return len(timeouts) == TIMEOUTS_TO_OPEN and 0 <= self._clock() - timeouts[0] < TIMEOUT_WINDOW

    @contextmanager
    def guard(self, kind: str) -> Iterator[None]:
        """Wrap one call of the kind ``"token"`` or ``"login"``.

        :raises Timeout: the breaker is open.
        """
        is_probe, started, pause = self.is_open, self._clock(), 0.0
        if is_probe:
            if 0 < self._next_probe[kind] - self._clock() <= PROBE_LEASE:
                raise Timeout("the server does not respond at the moment", was_sent=False)
            self._next_probe[kind] = self._clock() + PROBE_LEASE
        try:
            yield
        except Timeout as error:
            pause = PROBE_INTERVAL
            # Waiting for a free connection of our own pool says nothing about the server; concurrent timeouts are one.
            is_new = not self._timeouts or started >= self._timeouts[-1]
            if kind == "token" and is_new and not isinstance(error, PoolTimeout):
                self._timeouts = (*self._timeouts, self._clock())[-TIMEOUTS_TO_OPEN:]
            raise
        else:
            self._timeouts = ()
        finally:
            if is_probe:
                self._next_probe[kind] = self._clock() + pause


class TokenChecks:
    """Checks and refreshes the tokens of one application's requests.

    :param share: coalesces concurrent calls between tasks (ASGI) or threads (WSGI).
    """

    def __init__(
        self,
        server: AsyncClient,
        verifier: Verifier | None,
        clock: Callable[[], float],
        share: Share = SingleFlight.run_in_task,
    ) -> None:
        self._server = server
        self._verifier = verifier
        self._clock = clock
        self._share = share
        self._breaker = CircuitBreaker(clock)
        self._logins = threading.Semaphore(MAX_LOGINS)
        self._server_outages = OutageLog("Keystead", clock)
        self._verifier_outages = OutageLog("The verifier", clock)
        self._checks: SingleFlight[User | None] = SingleFlight(CHECK_TTL, clock, freshness=CHECK_TTL)
        self._refreshes: SingleFlight[Tokens | None] = SingleFlight(REFRESH_TTL, clock)
        # Refresh tokens after which a browser was given newer cookies: by a refresh (0.0) or, at that time, by a login.
        self._superseded = RecentTokens(4096)

    @property
    def is_authoritative(self) -> bool:
        """Whether a rejected token means that the session is over.

        Not with a verifier: its issuer or clock may be wrong, and access tokens do not show who is anonymous.
        """
        return self._verifier is None

    @property
    def is_blocking(self) -> bool:
        """Whether coroutines run to completion without an event loop (WSGI)."""
        return self._share is SingleFlight.run_in_thread

    async def check(self, auth_token: str, forwarded_for: str | None) -> User | None:
        """Return the user of an access token, None if it is not valid.

        :raises KeysteadError: neither the server nor the verifier can say.
        """
        if self._verifier is None:
            return await self._check_at_server(auth_token, forwarded_for)
        # Not cached here: the verifier has its own cache, and two would add up.
        try:
            with self._verifier_outages:
                claims = await self._verifier.verify_async(auth_token)
        except (TokenFromFuture, TokenExpired):
            # Perhaps this computer's clock is wrong: the server decides.
            user = await self._check_at_server(auth_token, forwarded_for)
            return {"id": user["id"]} if user is not None else None
        except Unauthorized:
            raise
        except NotAuthenticated:
            return None
        return {"id": claims.user_id}

    async def refresh(self, refresh_token: str, forwarded_for: str | None) -> Tokens | None:
        """Exchange a refresh token, None if the session is over. The result is shared for ``REFRESH_TTL`` seconds.

        :raises KeysteadError: the server cannot say.
        """
        if not refresh_token.startswith(_SECRET_PREFIX):
            return None
        return await self._share(self._refreshes, refresh_token, lambda: self._refresh(refresh_token, forwarded_for))

    async def log_in(self, email: str, password: str, brand: str | None, forwarded_for: str | None) -> Tokens:
        """Log in.

        :raises ServerBusy: ``MAX_LOGINS`` are in progress.
        """
        if not self._logins.acquire(blocking=False):
            raise ServerBusy("too many concurrent logins", {"retryAfter": 1})
        try:
            with self._guard("login"):
                tokens = await self._server.login_with(email, password, brand=brand, forwarded_for=forwarded_for)
        finally:
            self._logins.release()
        return _fit_for_cookies(tokens)

    def is_outdated(self, newest: str | None, brought: str | None) -> bool:
        """Whether the browser was given newer cookies than a response with the refresh token ``newest`` would set.

        ``brought`` is the refresh token the request came with. True after ``newest`` was exchanged, or a login
        replaced ``brought``.
        """
        if newest is not None and newest in self._superseded:
            return True
        replaced_at = self._superseded.added_at(brought) if brought is not None else None
        return replaced_at is not None and 0 <= self._clock() - replaced_at < REPLACED_TTL

    def replace(self, refresh_token: str) -> None:
        """Note that a login replaced the session of this refresh token."""
        self._superseded.add(refresh_token, self._clock())

    async def end_session(self, tokens: CookieTokens, forwarded_for: str | None) -> None:
        """End a session on the server by its refresh token (RFC 7009), else by its access token.

        :raises KeysteadError: the server cannot be reached.
        """
        auth_token, refresh_token = tokens.auth_token, tokens.refresh_token
        if auth_token:
            self._checks.forget(auth_token)
        if refresh_token:
            self._refreshes.forget(refresh_token)
        if refresh_token and refresh_token.startswith(_SECRET_PREFIX):
            auth_token = None
        elif _may_be_access_token(auth_token) and Tokens(auth_token, None).is_fresh(self._clock(), 0):
            refresh_token = None
        else:
            return
        try:
            with self._guard("token"):
                await self._server.logout_with(auth_token, refresh_token=refresh_token, forwarded_for=forwarded_for)
        except Unauthorized:
            raise
        except NotAuthenticated:
            return

    async def finish(self) -> None:
        """Wait for calls in progress on this event loop: a cancelled refresh would lose its tokens."""
        await self._refreshes.finish()
        await self._checks.finish()

    async def _check_at_server(self, auth_token: str, forwarded_for: str | None) -> User | None:
        if not _may_be_access_token(auth_token):
            return None
        # A copy: a request must not change the cached user.
        return deepcopy(
            await self._share(self._checks, auth_token, lambda: self._fetch_user(auth_token, forwarded_for))
        )

    async def _fetch_user(self, auth_token: str, forwarded_for: str | None) -> User | None:
        try:
            with self._guard("token"):
                user = await self._server.me_with(auth_token, forwarded_for=forwarded_for)
        except Unauthorized:
            # The application's own credential was rejected, which says nothing about the user.
            raise
        except NotAuthenticated:
            return None
        if not user.get("id"):
            raise ServerError("the server's response has no user id")
        return user

    async def _refresh(self, refresh_token: str, forwarded_for: str | None) -> Tokens | None:
        try:
            with self._guard("token"):
                renewed = await self._server.refresh_with(refresh_token, forwarded_for=forwarded_for)
        except _SESSION_IS_OVER:
            return None
        is_rotated = renewed.refresh_token is not None and renewed.refresh_token != refresh_token
        if is_rotated and refresh_token not in self._superseded:
            self._superseded.add(refresh_token)
        return _fit_for_cookies(renewed)

    @contextmanager
    def _guard(self, kind: str) -> Iterator[None]:
        with self._breaker.guard(kind), limit_retry_wait(MAX_RETRY_WAIT), self._server_outages:
            yield


def _may_be_access_token(text: str | None) -> bool:
    """Whether it is worth a call: a JWT, signed or encrypted, or an opaque secret."""
    return text is not None and (text.count(".") in (2, 4) or text.startswith(_SECRET_PREFIX))


def _fit_for_cookies(tokens: Tokens) -> Tokens:
    try:
        set_cookies(tokens)
    except ValueError:
        raise ServerError("the server's response has malformed tokens") from None
    return tokens
