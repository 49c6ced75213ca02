"""Create, rotate and revoke signing keys, serialized by a lock on the keyring.

The lock is the row of the keyring's version: on PostgreSQL the second of two processes waits for it and then reads the
first one's changes; SQLite has one writer anyway.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from keystead.crypto.master_key import MasterKey
from keystead.crypto.signing import SigningKey
from keystead.db.interface import Tx
from keystead.installation import store
from keystead.installation.model import (
    KEPT_AFTER_USE,
    PUBLISHED_BEFORE_USE,
    KeyState,
    KeyTimes,
    find_active,
    find_next,
    is_rotation_due,
)


class Revocation(StrEnum):
    """The outcome of revoking a key."""

    revoked = "revoked"
    retired_before = "retired_before"
    unknown = "unknown"


async def ensure_active(tx: Tx, master_key: MasterKey, now: datetime) -> None:
    """Create the first key, active immediately, unless there is an active one."""
    await store.insert_value(tx, store.KEYRING_VERSION, "0")
    keys = await _lock(tx)
    if find_active(keys, now) is None:
        await _add(tx, master_key, now, activates_at=now)
        await _increment_version(tx)


async def rotate(tx: Tx, master_key: MasterKey, now: datetime, *, only_if_due: bool) -> KeyTimes | None:
    """Create the next key, which becomes active in ten minutes, and schedule the active one to retire then.

    None, and no change, when there is a next key already, or with ``only_if_due`` when the active key is not old
    enough.
    """
    keys = await _lock(tx)
    active = find_active(keys, now)
    if find_next(keys, now) is not None or (only_if_due and not is_rotation_due(keys, now)):
        return None
    activates_at = now + PUBLISHED_BEFORE_USE if active else now
    made = await _add(tx, master_key, now, activates_at=activates_at)
    if active is not None:
        await store.schedule_key(tx, active.kid, active.activates_at, activates_at, activates_at + KEPT_AFTER_USE)
    await _increment_version(tx)
    return made


async def revoke(tx: Tx, master_key: MasterKey, kid: str, now: datetime) -> Revocation:
    """Revoke a key, and make sure that another one is active.

    The active key is replaced by the next one immediately, or by a new one. Revoking the next key cancels the rotation:
    the active key stays active.
    """
    keys = await _lock(tx)
    revoked = next((key for key in keys if key.kid == kid), None)
    if revoked is None:
        return Revocation.unknown
    state = revoked.state(now)
    if state is KeyState.retired:
        return Revocation.retired_before
    await store.revoke_key(tx, kid, now)
    others = [key for key in keys if key.kid != kid]
    if state is KeyState.active:
        await _replace_active(tx, master_key, others, now)
    elif state is KeyState.next:
        await _cancel_rotation(tx, others, now)
    await _increment_version(tx)
    return Revocation.revoked


async def _replace_active(tx: Tx, master_key: MasterKey, others: list[KeyTimes], now: datetime) -> None:
    waiting = find_next(others, now)
    if waiting is None:
        await _add(tx, master_key, now, activates_at=now)
    else:
        await store.schedule_key(tx, waiting.kid, now, waiting.retires_at, waiting.dropped_at)


async def _cancel_rotation(tx: Tx, others: list[KeyTimes], now: datetime) -> None:
    active = find_active(others, now)
    if active is not None:
        await store.schedule_key(tx, active.kid, active.activates_at, None, None)


async def _lock(tx: Tx) -> list[KeyTimes]:
    await store.lock_value(tx, store.KEYRING_VERSION)
    return await store.list_keys(tx)


async def _add(tx: Tx, master_key: MasterKey, now: datetime, *, activates_at: datetime) -> KeyTimes:
    key = SigningKey.generate()
    times = KeyTimes(key.kid, created_at=now, activates_at=activates_at)
    await store.insert_key(tx, times, key.to_encrypted(master_key))
    return times


async def _increment_version(tx: Tx) -> None:
    version = await store.find_value(tx, store.KEYRING_VERSION) or "0"
    await store.change_value(tx, store.KEYRING_VERSION, version, str(int(version) + 1))
