"""The tokens of a session, and where they are kept."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from keystead_client.claims import AUDIENCE
from keystead_client.fork_lock import ForkLock

Kind: TypeAlias = Literal["pair", "standing"]
"""Of a session."""

_FAR = 1e15


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one session. Their text is hidden in ``repr``.

    A *pair* session changes its refresh token with every refresh; a *standing* one keeps it.
    """

    auth_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    kind: Kind = "pair"
    previous_refresh_token: str | None = field(default=None, repr=False)
    """What the refresh token replaced, until the new tokens have worked once."""

    @property
    def expires_at(self) -> float | None:
        """When the access token expires, in seconds since 1970, as it says itself; None where it does not say."""
        return expiry_of(self.auth_token) if self.auth_token else None

    @property
    def issued_at(self) -> float | None:
        """When the access token was issued, in seconds since 1970, as it says itself; None where it does not say."""
        return _number(claims_of(self.auth_token).get("iat")) if self.auth_token else None

    def is_fresh(self, now: float, buffer: float) -> bool:
        """Whether the access token is good for longer than ``buffer`` seconds.

        A token that lives less than twice as long counts as fresh in the first half of its life. One that does not
        say when it expires is fresh until the server refuses it.
        """
        if self.auth_token is None:
            return False
        claims = claims_of(self.auth_token)
        expires, issued = _number(claims.get("exp")), _number(claims.get("iat"))
        if expires is None:
            return True
        if issued is not None:
            buffer = min(buffer, (expires - issued) / 2)
        return expires - now > buffer


class TokenStore(Protocol):
    """Keeps the tokens of one session. Both methods may be called from any thread, and must be quick.

    A store that several processes share may have a third, ``exclusive()``: a context manager inside which no other of
    them saves. Tokens are then compared and replaced in one step.

    The client that saves holds a lock, which its thread may enter again: ``save``, and a signal's handler that
    interrupts it, may call that client, which goes by what ``load`` gives then, or by what a refresh has brought. What
    was being saved stands in the end. They must not wait for another thread that calls it. ``exclusive()`` is entered
    again then, too, as where a program says ``with store.exclusive(): client.login(...)``: it must let the thread in
    that is inside.
    """

    def load(self) -> Tokens | None:
        """What was saved last."""

    def save(self, tokens: Tokens | None) -> None:
        """Keep these; None forgets them."""


class MemoryTokens:
    """Keeps tokens as long as the process lives."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._lock = ForkLock()

    def load(self) -> Tokens | None:
        """What was saved last."""
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        """Keep these; None forgets them."""
        self._tokens = tokens

    def exclusive(self) -> AbstractContextManager[None]:
        """No other thread with this store saves inside; the one that is inside may enter again."""
        return self._lock


def expiry_of(jwt: str) -> float | None:
    """When a JWT says that it expires, in seconds since 1970. Nothing is verified; None where it does not say."""
    return _number(claims_of(jwt).get("exp"))


def claims_of(jwt: str) -> Mapping[str, Any]:
    """The claims of a JWT, unverified: good for planning a refresh, for nothing else. Empty for anything else."""
    parts = jwt.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def brand_of(jwt: str) -> str | None:
    """The id of the brand that a JWT says it is for. Nothing is verified; None where it does not say."""
    audience = claims_of(jwt).get("aud")
    return audience.removeprefix(AUDIENCE) if isinstance(audience, str) and audience.startswith(AUDIENCE) else None


def _number(value: object) -> float | None:
    """A time as a number; what comes of a browser's cookie may be anything."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -_FAR < value < _FAR:
        return None
    return float(value)
