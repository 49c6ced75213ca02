"""What the server says about a browser's tokens, asked as seldom as possible."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from keystead_client._single_flight import RecentTokens, Share, SingleFlight, share_between_tasks, share_between_threads
from keystead_client._transport import OutageLog
from keystead_client.errors import (
    NotAuthenticated,
    RefreshTokenExpired,
    RefreshTokenInvalid,
    RefreshTokenReused,
    ServerError,
    TokenExpired,
    Unauthorized,
)
from keystead_client.tokens import Tokens
from keystead_client.verify import TokenFromFuture
from keystead_client.wary import AuthServer, WaryServer

User = Mapping[str, Any]
"""``id`` and ``email``; the ``id`` alone where a verifier judged the token."""

REMEMBERED_REFRESH = 10.0
"""Seconds: as long as the server's own grace for a token that has just been replaced."""
REMEMBERED_CHECK = 1.0
"""Seconds for which a revoked token may still pass, from the moment at which the server is asked: its answer may come
late, and speaks of that moment."""

LATE = 60.0
"""Seconds after a login for which answers to what had left with the cookies before may still come."""

_OPAQUE = "ks_"
"""Begins every secret of Keystead's, refresh tokens among them."""
MOST_EXCHANGED = 4096
"""Refresh tokens that are known to have been exchanged here, least recently used out first."""
LONGEST_CHAIN = 16
"""Exchanges one after another that are followed: nobody makes as many in the time for which they are remembered."""

SESSION_IS_OVER = (RefreshTokenInvalid, RefreshTokenExpired, RefreshTokenReused)


class Verifies(Protocol):
    """Judges an access token by itself, as :class:`keystead_client.verify.Verifier` does."""

    @property
    def verify_async(self) -> Callable[[str], Awaitable[Any]]:
        """The claims, with a ``user_id``. Raises ``NotAuthenticated`` for a bad token."""


class Gate:
    """Asks about tokens for every request of one application.

    ``share`` says among whom an answer is shared: the tasks of event loops, or threads that have none.
    """

    def __init__(
        self,
        server: AuthServer,
        verifier: Verifies | None,
        clock: Callable[[], float],
        share: Share = share_between_tasks,
    ) -> None:
        self.server = WaryServer(server, clock)
        self._verifier = verifier
        self._outages = OutageLog("The verifier", clock)
        self._share = share
        self._checks: SingleFlight[User | None] = SingleFlight(REMEMBERED_CHECK, clock, freshness=REMEMBERED_CHECK)
        self._refreshes: SingleFlight[Tokens | None] = SingleFlight(REMEMBERED_REFRESH, clock)
        self._exchanged = RecentTokens(MOST_EXCHANGED)
        self._replaced = RecentTokens(MOST_EXCHANGED)
        self._clock = clock

    @property
    def speaks_for_the_server(self) -> bool:
        """Whether a token that it refuses is over, and whether it says of a user that they have no account.

        A verifier may be wrong, its issuer or its clock; and no access token tells anonymous users from others.
        """
        return self._verifier is None

    @property
    def is_for_threads(self) -> bool:
        """Whether its coroutines run to their end without an event loop."""
        return self._share is share_between_threads

    async def check(self, auth_token: str, forwarded_for: str | None) -> User | None:
        """Whose token this is; None: nobody's, or no longer. Raises the client's errors where that cannot be told."""
        if self._verifier is None:
            return await self._told(auth_token, forwarded_for)
        # It remembers what it may, and asks once for many: a second memory here would add to its second.
        try:
            with self._outages:
                claims = await self._verifier.verify_async(auth_token)
        except (TokenFromFuture, TokenExpired):
            # Perhaps it is this computer's clock that is wrong. Only the server knows that a session is over.
            user = await self._told(auth_token, forwarded_for)
            return {"id": user["id"]} if user is not None else None
        except Unauthorized:
            raise
        except NotAuthenticated:
            return None
        return {"id": claims.user_id}

    async def refresh(self, refresh_token: str, forwarded_for: str | None) -> Tokens | None:
        """The tokens that replace this one; None: the session is over, says the server. Raises the client's errors.

        Those that are remembered may have been replaced since: then the newest.
        """
        if not refresh_token.startswith(_OPAQUE):
            return None
        renewed = await self._refreshed(refresh_token, forwarded_for)
        for _ in range(LONGEST_CHAIN):
            if renewed is None or renewed.refresh_token is None or not self.has_exchanged(renewed.refresh_token):
                break
            renewed = await self._refreshed(renewed.refresh_token, forwarded_for)
        return renewed

    def has_exchanged(self, refresh_token: str) -> bool:
        """Whether this process has had it exchanged for another."""
        return refresh_token in self._exchanged

    def replace(self, refresh_token: str) -> None:
        """A login of the browser that holds it ends its session."""
        self._replaced.add(refresh_token, self._clock())

    def has_replaced(self, refresh_token: str) -> bool:
        """Whether a login in this process has done so a moment ago: the browser has other cookies by now."""
        at = self._replaced.added_at(refresh_token)
        return at is not None and 0 <= self._clock() - at < LATE

    def forget(self, auth_token: str | None, refresh_token: str | None) -> None:
        """Believe nothing about these tokens any more."""
        if auth_token:
            self._checks.forget(auth_token)
        if refresh_token:
            self._refreshes.forget(refresh_token)

    async def finish(self) -> None:
        """Waits for what this event loop has under way: the tokens of a refresh that is broken off are lost."""
        await self._refreshes.finish()
        await self._checks.finish()

    async def _told(self, auth_token: str, forwarded_for: str | None) -> User | None:
        """What the server says, asked once for everybody who asks within a second."""
        if not _may_be_an_access_token(auth_token):
            return None
        user = await self._share(self._checks, auth_token, lambda: self._ask(auth_token, forwarded_for))
        # Each request has a copy: what one does to it must not be seen by the next.
        return None if user is None else {name: _copied(value) for name, value in user.items()}

    async def _ask(self, auth_token: str, forwarded_for: str | None) -> User | None:
        try:
            user = await self.server.me_with(auth_token, forwarded_for=forwarded_for)
        except Unauthorized:
            # The application's own key or brand token is bad: that says nothing about the user.
            raise
        except NotAuthenticated:
            return None
        if not user.get("id"):
            raise ServerError("the server's answer tells no id of the user")
        return user

    async def _refreshed(self, refresh_token: str, forwarded_for: str | None) -> Tokens | None:
        return await self._share(self._refreshes, refresh_token, lambda: self._refresh(refresh_token, forwarded_for))

    async def _refresh(self, refresh_token: str, forwarded_for: str | None) -> Tokens | None:
        try:
            renewed = await self.server.refresh_with(refresh_token, forwarded_for=forwarded_for)
        except SESSION_IS_OVER:
            return None
        if renewed.refresh_token is not None and renewed.refresh_token != refresh_token:
            self._exchanged.add(refresh_token)
        return renewed


def _may_be_an_access_token(text: str) -> bool:
    """A JWT, signed or encrypted, or an opaque token of Keystead's. Loose, as servers to come may have other ones; what
    whoever likes puts into a cookie is mostly neither, and is worth no question."""
    return text.count(".") in (2, 4) or text.startswith(_OPAQUE)


def _copied(value: Any) -> Any:
    """Of what JSON can hold."""
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return {name: _copied(item) for name, item in value.items()} if isinstance(value, dict) else value
