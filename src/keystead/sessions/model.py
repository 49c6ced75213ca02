"""Sessions, refresh tokens and what rotating one results in, as values.

A session is alive when it is not ended, its epoch equals the user's, and user and brand are active (security §3).
Refresh tokens belong to a session and have no epoch, so none can outlive it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from keystead.crypto.secrets import Secret
from keystead.policy import BrandPolicy, Preset, SessionKind

LAST_USE_PRECISION = 60
"""Seconds: how far ``last_used_at`` may lag behind (``db.last_uses``)."""


class EndReason(StrEnum):
    """Why a session was ended; stored with it and in the audit log."""

    logout = "logout"
    revoked = "revoked"
    reuse = "reuse"
    limit = "limit"
    password_changed = "password_changed"
    address_proved = "address_proved"


REVOKING_REASONS = frozenset({EndReason.revoked, EndReason.reuse, EndReason.password_changed, EndReason.address_proved})
"""Reasons for which a session is revoked, as it may be an intruder's: e-mail changes that it requested are void."""


class Device(msgspec.Struct, frozen=True):
    """Where a session was opened from, as shown to its owner."""

    ip_prefix: str | None = None
    user_agent: str | None = None


class SessionRow(msgspec.Struct, frozen=True):
    """A session as shown to its owner."""

    id: str
    kind: str
    created_at: datetime
    last_used_at: datetime | None
    ip_prefix: str | None
    user_agent: str | None


class PresentedToken(msgspec.Struct, frozen=True):
    """A presented refresh token with its session and brand, read in one query: input of ``rotation.judge``."""

    brand_id: str
    session_id: str
    user_id: str
    kind: SessionKind
    is_alive: bool
    preset: Preset
    policy: BrandPolicy
    keyring_version: int
    """The keyring's version in the database when this was read: no older keyring may sign an access token now."""
    generation: int
    head_generation: int
    """The generation of the session's current token: the only one that was never presented."""
    issued_at: datetime
    expires_at: datetime | None
    rotated_at: datetime | None
    used_at: datetime
    """The last use of its session, up to a minute behind."""

    def standing_expiry(self, policy: BrandPolicy) -> datetime | None:
        """When a standing token expires; None: never. A lifetime that the brand sets applies to issued tokens too."""
        if policy.standing_refresh_ttl is None:
            return self.expires_at
        set_by_now = self.issued_at + timedelta(seconds=policy.standing_refresh_ttl)
        return set_by_now if self.expires_at is None else min(self.expires_at, set_by_now)


class RotatedRow(msgspec.Struct, frozen=True):
    """A token that was just marked as rotated: input for its successor."""

    brand_id: str
    session_id: str
    user_id: str
    generation: int
    rotation_key_id: str
    policy: BrandPolicy
    keyring_version: int


@dataclass(frozen=True, slots=True)
class Link:
    """One token in a session's chain of rotations."""

    generation: int
    rotation_key_id: str
    digest: bytes = field(repr=False)
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session and its first refresh token."""

    brand_id: str
    user_id: str
    session_id: str
    refresh_token: Secret
    expires_at: datetime | None
    """When the refresh token expires; None: never."""
    keyring_version: int
    """As in ``PresentedToken``."""
    ended: tuple[str, ...] = ()
    """Ids of the user's oldest sessions, which were ended to keep ``max_sessions``."""


@dataclass(frozen=True, slots=True)
class _Renewed:
    brand_id: str
    user_id: str
    session_id: str
    policy: BrandPolicy
    refresh_token: Secret
    """The session's current refresh token."""
    expires_at: datetime | None
    keyring_version: int
    """As in ``PresentedToken``."""


class Rotated(_Renewed):
    """The token was current: it is rotated now; with its successor."""


class Replayed(_Renewed):
    """The token was rotated a moment ago; with the current token, the same for every caller."""


@dataclass(frozen=True, slots=True)
class Reused:
    """The token was rotated too long ago: its session has been ended."""

    brand_id: str
    user_id: str
    session_id: str
    is_first: bool
    """False when the session was already ended for the same reason by a concurrent request."""


class Expired:
    """The token has expired."""


class Unknown:
    """No such token, or of another kind or brand, or its session has ended. Nothing was changed."""


class KindOff:
    """The brand no longer allows sessions of this kind. Nothing was changed."""


Verdict = Rotated | Replayed | Reused | Expired | Unknown | KindOff
"""The result of presenting a refresh token; a value, so that an error is raised after the commit."""
