"""The states of a signing key, derived from its times. Pure; security §5.

``next`` until it activates, ``active`` until it retires, ``retiring`` until it is dropped, then ``retired``. JWKS
publishes the first three. A revoked key is retired on every node, whatever its clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from keystead.crypto.keyring import FOREVER
from keystead.policy import LONGEST_ACCESS_TTL

PUBLISHED_BEFORE_USE: Final = timedelta(minutes=10)
"""How long JWKS publishes a key before it signs, so that every verifier has loaded it."""
KEPT_AFTER_USE: Final = timedelta(seconds=LONGEST_ACCESS_TTL + 60)
"""How long a key is accepted after it last signed: the longest access token's lifetime, and a minute for slow nodes."""
LONGEST_USE: Final = timedelta(days=30)
"""The age at which the active key is rotated."""


class KeyState(StrEnum):
    """The state of a key."""

    next = "next"
    active = "active"
    retiring = "retiring"
    retired = "retired"


class KeyTimes(msgspec.Struct, frozen=True):
    """The id and times of a signing key."""

    kid: str
    created_at: datetime
    activates_at: datetime
    retires_at: datetime | None = None
    dropped_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> KeyState:
        """The state at ``now``."""
        if self.revoked_at is not None or (self.dropped_at is not None and self.dropped_at <= now):
            return KeyState.retired
        if self.retires_at is not None and self.retires_at <= now:
            return KeyState.retiring
        return KeyState.active if self.activates_at <= now else KeyState.next


def find_active(keys: Sequence[KeyTimes], now: datetime) -> KeyTimes | None:
    """The key that signs at ``now``.

    A node whose clock is behind may read a key that was activated "in the future": when no key is active, the next one
    signs. None when there is neither.
    """
    active = [key for key in keys if key.state(now) is KeyState.active]
    if active:
        return max(active, key=lambda key: (key.activates_at, key.kid))
    return find_next(keys, now)


def find_next(keys: Sequence[KeyTimes], now: datetime) -> KeyTimes | None:
    """The key that becomes active next, or None when no rotation is in progress."""
    waiting = [key for key in keys if key.state(now) is KeyState.next]
    return min(waiting, key=lambda key: (key.activates_at, key.kid), default=None)


def next_change(keys: Iterable[KeyTimes], now: datetime) -> datetime:
    """When the state of a key changes next; FOREVER when none does."""
    moments = [
        moment
        for key in keys
        if key.revoked_at is None
        for moment in (key.activates_at, key.retires_at, key.dropped_at)
        if moment is not None and moment > now
    ]
    return min(moments, default=FOREVER)


def is_rotation_due(keys: Sequence[KeyTimes], now: datetime) -> bool:
    """Whether the active key is old enough to be rotated and has no next key."""
    active = find_active(keys, now)
    if active is None or find_next(keys, now) is not None:
        return False
    return now - active.activates_at >= LONGEST_USE
