"""A session is one signed-in device; it owns its refresh tokens. What the store reads and the service answers.

Security §3: a session is alive when it is not ended, its epoch equals the user's, and user and brand are active.
Refresh tokens belong to a session and carry no epoch of their own, so none can outlive it.
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
    """Why a session was ended; kept with it, and in the audit log."""

    logout = "logout"
    revoked = "revoked"
    reuse = "reuse"
    limit = "limit"
    password_changed = "password_changed"
    address_proved = "address_proved"


THROWN_OUT = frozenset({EndReason.revoked, EndReason.reuse, EndReason.password_changed, EndReason.address_proved})
"""Why a session is ended that need not be its owner's: what it has begun must not be finished."""


class Device(msgspec.Struct, frozen=True):
    """From where a session was opened, as its owner is shown it."""

    ip_prefix: str | None = None
    user_agent: str | None = None


class SessionRow(msgspec.Struct, frozen=True):
    """A session as its owner sees it."""

    id: str
    kind: str
    created_at: datetime
    last_used_at: datetime | None
    ip_prefix: str | None
    user_agent: str | None


class PresentedToken(msgspec.Struct, frozen=True):
    """All that is known of a refresh token somebody presents, read in one go. Input of the judgement."""

    brand_id: str
    session_id: str
    user_id: str
    kind: SessionKind
    is_alive: bool
    preset: Preset
    policy: BrandPolicy
    keyring_version: int
    """What the installation's keyring had in the database when this was read: no older one may sign now."""
    generation: int
    head_generation: int
    """The generation of the session's current token: the only one that was never presented."""
    issued_at: datetime
    expires_at: datetime | None
    rotated_at: datetime | None
    used_at: datetime
    """When its session was last seen, up to a minute behind."""

    def standing_end(self, policy: BrandPolicy) -> datetime | None:
        """When a standing token is over; None: never. A brand that sets an end sets it for those that are out too."""
        if policy.standing_refresh_ttl is None:
            return self.expires_at
        set_by_now = self.issued_at + timedelta(seconds=policy.standing_refresh_ttl)
        return set_by_now if self.expires_at is None else min(self.expires_at, set_by_now)


class RotatedRow(msgspec.Struct, frozen=True):
    """A token that has just been marked as rotated: what its successor is made from."""

    brand_id: str
    session_id: str
    user_id: str
    generation: int
    rotation_key_id: str
    policy: BrandPolicy
    keyring_version: int


@dataclass(frozen=True, slots=True)
class Link:
    """One token in a session's chain: enough to derive the next one and to recognise it."""

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
    """When the refresh token is over; None: never."""
    keyring_version: int
    """As in ``PresentedToken``."""
    ended: tuple[str, ...] = ()
    """Ids of the sessions that had to make room."""


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
    """The token was current: it is rotated now, and here is its successor."""


class Replayed(_Renewed):
    """The token was rotated a moment ago: here is the current one, the same for everybody who asks."""


@dataclass(frozen=True, slots=True)
class Reused:
    """The token was rotated too long ago: its session has been ended."""

    brand_id: str
    user_id: str
    session_id: str
    is_first: bool
    """False when somebody else has just ended the session for the same reason."""


class Expired:
    """The token is past its life."""


class Unknown:
    """No such token, or not of this kind or brand, or its session is over. Nothing was changed."""


class KindOff:
    """The brand has no sessions of this kind any more. Nothing was changed."""


Verdict = Rotated | Replayed | Reused | Expired | Unknown | KindOff
"""What became of a presented refresh token; a value, so that an error is raised after the commit."""
