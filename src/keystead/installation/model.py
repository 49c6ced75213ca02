"""The life of a signing key, told from its times alone. Pure; security §5.

``next`` until it activates, ``active`` until it retires, ``retiring`` until it is dropped, then ``retired``.
JWKS publishes the first three. A revoked key is retired on every node, however its clock goes.
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
"""How long a key stands in JWKS before it signs, so that everybody who verifies has seen it."""
KEPT_AFTER_USE: Final = timedelta(seconds=LONGEST_ACCESS_TTL + 60)
"""How long a key is accepted after it last signed: the longest access token, and a minute for slow nodes."""
LONGEST_USE: Final = timedelta(days=30)
"""How old the active key grows before it is rotated."""


class KeyState(StrEnum):
    """Where in its life a key is."""

    next = "next"
    active = "active"
    retiring = "retiring"
    retired = "retired"


class KeyTimes(msgspec.Struct, frozen=True):
    """A signing key without the key itself."""

    kid: str
    created_at: datetime
    activates_at: datetime
    retires_at: datetime | None = None
    dropped_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> KeyState:
        """Where in its life the key is at ``now``."""
        if self.revoked_at is not None or (self.dropped_at is not None and self.dropped_at <= now):
            return KeyState.retired
        if self.retires_at is not None and self.retires_at <= now:
            return KeyState.retiring
        return KeyState.active if self.activates_at <= now else KeyState.next


def find_active(keys: Sequence[KeyTimes], now: datetime) -> KeyTimes | None:
    """The key that signs at ``now``.

    A node whose clock lags behind may read a key that was made active "in the future": where no key is active, the
    first one to become so signs. None when there is neither.
    """
    active = [key for key in keys if key.state(now) is KeyState.active]
    if active:
        return max(active, key=lambda key: (key.activates_at, key.kid))
    return find_next(keys, now)


def find_next(keys: Sequence[KeyTimes], now: datetime) -> KeyTimes | None:
    """The key that will sign after the active one, or None when no rotation is under way."""
    waiting = [key for key in keys if key.state(now) is KeyState.next]
    return min(waiting, key=lambda key: (key.activates_at, key.kid), default=None)


def next_change(keys: Iterable[KeyTimes], now: datetime) -> datetime:
    """When time alone changes the state of a key; FOREVER when it does not."""
    moments = [
        moment
        for key in keys
        if key.revoked_at is None
        for moment in (key.activates_at, key.retires_at, key.dropped_at)
        if moment is not None and moment > now
    ]
    return min(moments, default=FOREVER)


def is_rotation_due(keys: Sequence[KeyTimes], now: datetime) -> bool:
    """Whether the active key is old enough to be replaced, and nothing replaces it yet."""
    active = find_active(keys, now)
    if active is None or find_next(keys, now) is not None:
        return False
    return now - active.activates_at >= LONGEST_USE
