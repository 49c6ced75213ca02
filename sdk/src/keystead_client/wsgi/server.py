"""The client without ``await`` in the place of the asynchronous one, and a verifier likewise.

Their methods are coroutines in name only: none of them ever suspends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from keystead_client.client import Client
from keystead_client.tokens import Tokens


class VerifiesAtOnce(Protocol):
    """Judges an access token by itself, as :class:`keystead_client.verify.Verifier` does."""

    @property
    def verify(self) -> Callable[[str], Any]:
        """The claims, with a ``user_id``. Raises ``NotAuthenticated`` for a bad token."""


class BlockingServer:
    """Asks through a :class:`Client`."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def login_with(
        self, email: str, password: str, *, brand: str | None = None, forwarded_for: str | None = None
    ) -> Tokens:
        """The tokens of a new session."""
        return self.client.login_with(email, password, brand=brand, forwarded_for=forwarded_for)

    async def refresh_with(self, refresh_token: str, *, forwarded_for: str | None = None) -> Tokens:
        """The next tokens."""
        return self.client.refresh_with(refresh_token, forwarded_for=forwarded_for)

    async def me_with(self, auth_token: str, *, forwarded_for: str | None = None) -> Mapping[str, Any]:
        """The user."""
        return self.client.me_with(auth_token, forwarded_for=forwarded_for)

    async def logout_with(self, auth_token: str, *, forwarded_for: str | None = None) -> None:
        """Ends the session."""
        self.client.logout_with(auth_token, forwarded_for=forwarded_for)


class BlockingVerifier:
    """A verifier that keeps the thread waiting, and nobody else."""

    def __init__(self, verifier: VerifiesAtOnce) -> None:
        self._verifier = verifier

    @property
    def verify_async(self) -> Callable[[str], Awaitable[Any]]:
        """As the gate asks for it."""
        return self._verify

    async def _verify(self, token: str) -> Any:
        return self._verifier.verify(token)
