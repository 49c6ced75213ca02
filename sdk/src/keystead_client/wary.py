"""A server that hangs must not hang the application that asks it."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, TypeVar

from keystead_client.errors import KeysteadError, Timeout
from keystead_client.tokens import Tokens

T = TypeVar("T")

TIMEOUT: Final = 5.0
"""Seconds that one question may take: a browser is waiting, and a worker of the application."""
RETRIES: Final = 1
SILENCE: Final = 3
"""Questions about tokens left unanswered, one after another, that are called a server that hangs. One alone may be a
slow moment, which must not send others away; a login does not count, as whoever likes can make it slow."""
PAUSE: Final = 1.0
"""Seconds for which nothing is asked of a server that hangs."""


class AuthServer(Protocol):
    """The part of :class:`keystead_client.client.AsyncClient` that is needed here: nothing of it holds a session."""

    async def login_with(
        self, email: str, password: str, *, brand: str | None = None, forwarded_for: str | None = None
    ) -> Tokens:
        """The tokens of a new session."""

    async def refresh_with(self, refresh_token: str, *, forwarded_for: str | None = None) -> Tokens:
        """The next tokens."""

    async def me_with(self, auth_token: str, *, forwarded_for: str | None = None) -> Mapping[str, Any]:
        """The user."""

    async def logout_with(self, auth_token: str, *, forwarded_for: str | None = None) -> None:
        """Ends the session."""

    async def close(self) -> None:
        """Closes the connections."""


class WaryServer:
    """Asks a server that hangs one question at a time; who asks meanwhile is told at once.

    Otherwise each request would wait as long as the first, until all workers of the application wait and its public
    pages are not served either. The first answer, whatever it says, ends this.
    """

    def __init__(self, server: AuthServer, clock: Callable[[], float]) -> None:
        self._server = server
        self._clock = clock
        self._unanswered = 0
        self._silent_since = 0.0
        self._asking: int | None = None
        """The process that puts the one question: one that was forked meanwhile is not the one that ends it."""

    async def login_with(
        self, email: str, password: str, *, brand: str | None = None, forwarded_for: str | None = None
    ) -> Tokens:
        """The tokens of a new session."""
        login = self._server.login_with(email, password, brand=brand, forwarded_for=forwarded_for)
        return await self._ask(login, counts=False)

    async def refresh_with(self, refresh_token: str, *, forwarded_for: str | None = None) -> Tokens:
        """The next tokens."""
        return await self._ask(self._server.refresh_with(refresh_token, forwarded_for=forwarded_for))

    async def me_with(self, auth_token: str, *, forwarded_for: str | None = None) -> Mapping[str, Any]:
        """The user."""
        return await self._ask(self._server.me_with(auth_token, forwarded_for=forwarded_for))

    async def logout_with(self, auth_token: str, *, forwarded_for: str | None = None) -> None:
        """Ends the session."""
        await self._ask(self._server.logout_with(auth_token, forwarded_for=forwarded_for))

    async def close(self) -> None:
        """Closes the connections."""
        await self._server.close()

    async def _ask(self, question: Coroutine[Any, Any, T], *, counts: bool = True) -> T:
        if self._unanswered < SILENCE:
            return await self._heard(question, counts)
        if self._asking == os.getpid() or 0 <= self._clock() - self._silent_since < PAUSE:
            question.close()
            raise Timeout("the server does not answer at the moment", was_sent=False)
        self._asking = os.getpid()
        try:
            return await self._heard(question, counts)
        finally:
            self._asking = None

    async def _heard(self, question: Coroutine[Any, Any, T], counts: bool) -> T:
        try:
            answer = await question
        except Timeout:
            self._silent_since = self._clock()
            self._unanswered += counts
            raise
        except KeysteadError:
            self._unanswered = 0
            raise
        self._unanswered = 0
        return answer
