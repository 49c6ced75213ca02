"""The installation: its master key's check value, its signing keys, and the leases of its nodes."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

from keystead.audit import service as audit
from keystead.context import RESERVED_BRAND_ID, Context
from keystead.crypto.keyring import Keyring
from keystead.crypto.master_key import MasterKey
from keystead.crypto.signing import KeyUnreadable, SigningKey
from keystead.db.clock import time_in
from keystead.db.interface import Database
from keystead.errors import Conflict, NotFound, StartupError
from keystead.installation import signing_keys, store
from keystead.installation.model import KeyState, KeyTimes, find_active, is_rotation_due, next_change
from keystead.installation.signing_keys import Revocation

EX_CONFIG = 78
CURRENT_ROTATION_KEY = "1"
"""The id of the key from which successors of new refresh tokens are derived; stored in each row."""

_WRONG_MASTER_KEY = "KEYSTEAD_MASTER_KEY: this is not the master key this database was made with"


async def prepare(db: Database, master_key: MasterKey, now: datetime) -> None:
    """Create, at the first start, the master key's check value and a signing key; verify them at later ones.

    :raises StartupError: when the database belongs to another master key. Nothing is written then.
    """
    ours = master_key.check_value()
    async with db.transaction() as tx:
        await store.insert_value(tx, store.CHECK_VALUE, ours)
        stored = await store.find_value(tx, store.CHECK_VALUE)
        is_ours = stored is not None and hmac.compare_digest(stored, ours)
        if is_ours:
            await signing_keys.ensure_active(tx, master_key, now)
    if not is_ours:
        raise StartupError(_WRONG_MASTER_KEY, exit_code=EX_CONFIG)


async def reject_guessable(db: Database, master_key: MasterKey) -> None:
    """Reject a master key that is easy to guess for a new installation; an existing one cannot change its key.

    :raises StartupError: when the key is easy to guess and the database has none yet.
    """
    if master_key.is_guessable and not await is_prepared(db):
        line = f"{master_key.origin}: the master key is easy to guess; make one with: openssl rand -base64 32"
        raise StartupError(line, exit_code=EX_CONFIG)


async def is_prepared(db: Database) -> bool:
    """Whether the database belongs to a master key already."""
    return await store.find_value(db.reads, store.CHECK_VALUE) is not None


async def is_master_key_of(db: Database, master_key: MasterKey) -> bool | None:
    """Whether the database belongs to this master key; None when it has none yet."""
    stored = await store.find_value(db.reads, store.CHECK_VALUE)
    return None if stored is None else hmac.compare_digest(stored, master_key.check_value())


async def keyring_version(db: Database) -> int:
    """The version of the keyring in the database, incremented by each change. One read by primary key."""
    return int(await store.find_value(db.reads, store.KEYRING_VERSION) or 0)


async def load_keyring(db: Database, master_key: MasterKey, now: datetime) -> Keyring:
    """Load the keyring as it is at ``now``; :meth:`Keyring.is_current` says when to reload it.

    :raises StartupError: when there is no active key, or a key does not decrypt.
    """
    # The version is read first: a concurrent change makes this keyring look outdated, never newer than it is.
    version = await keyring_version(db)
    keys = await store.list_keys(db.reads)
    active = find_active(keys, now)
    if active is None:
        raise StartupError("there is no signing key in the database: it was never started, or was emptied")
    stored = await store.list_private_keys(db.reads)
    published = [key.kid for key in keys if key.kid in stored and key.state(now) is not KeyState.retired]
    # Public halves come from the encrypted private ones: a key inserted into the table does not decrypt.
    try:
        opened = {kid: SigningKey.from_encrypted(kid, stored[kid], master_key) for kid in published}
    except KeyUnreadable as error:
        raise StartupError(str(error), exit_code=EX_CONFIG) from None
    others = [key.verification for kid, key in opened.items() if kid != active.kid]
    return Keyring.of(version, opened[active.kid], others, valid_until=next_change(keys, now))


async def list_keys(ctx: Context) -> Sequence[KeyTimes]:
    """All signing keys, retired ones too, the oldest first."""
    return await list_keys_of(ctx.db)


async def list_keys_of(db: Database) -> Sequence[KeyTimes]:
    """As :func:`list_keys`, without a running server: ``doctor`` also examines databases that none can start on."""
    return await store.list_keys(db.scans)


async def rotate(ctx: Context) -> KeyTimes:
    """Create a new signing key, which becomes active in ten minutes.

    :raises Conflict: when another one is about to become active.
    """
    made = await _rotate(ctx, only_if_due=False)
    if made is None:
        raise Conflict("A new signing key is about to become active already.")
    return made


async def maintain(ctx: Context) -> bool:
    """Rotate the signing key when it is 30 days old; returns whether it did. Concurrent nodes create one key."""
    if not is_rotation_due(await store.list_keys(ctx.db.reads), ctx.now()):
        return False
    return await _rotate(ctx, only_if_due=True) is not None


async def revoke(ctx: Context, kid: str) -> None:
    """Revoke a signing key: every node rejects its tokens within 5 s.

    If it was active, another key becomes active. Revoking a retired key changes nothing.

    :raises NotFound: when there is no such key.
    """
    async with ctx.db.transaction() as tx:
        now = await time_in(tx, ctx.server.clock)
        outcome = await signing_keys.revoke(tx, ctx.server.master_key, kid, now)
        if outcome is Revocation.revoked:
            event = audit.describe(ctx, "key.revoked", brand_id=RESERVED_BRAND_ID, details={"kid": kid})
            await audit.record(tx, event)
    if outcome is Revocation.unknown:
        raise NotFound("There is no signing key with this id.")


async def take_lease(ctx: Context, name: str, holder: str, duration: timedelta) -> bool:
    """Take or renew the lease ``name`` for ``duration``, by the database's clock; False while another holder has it.

    A lease that ends later than twice the ``duration`` from now was taken while the clock was wrong, and is ignored: it
    would block the work for as long as the clock was ahead.
    """
    async with ctx.db.transaction() as tx:
        now = await time_in(tx, ctx.server.clock)
        until, latest = _as_text(now + duration), _as_text(now + 2 * duration)
        return await store.take_lease(tx, f"lease:{name}", holder, _as_text(now), until, latest)


def rotation_key(master_key: MasterKey, key_id: str) -> bytes:
    """The 32 bytes from which successors of refresh tokens are derived, by the key id stored in their row."""
    return master_key.derive(f"refresh/{key_id}")


async def _rotate(ctx: Context, *, only_if_due: bool) -> KeyTimes | None:
    async with ctx.db.transaction() as tx:
        now = await time_in(tx, ctx.server.clock)
        made = await signing_keys.rotate(tx, ctx.server.master_key, now, only_if_due=only_if_due)
        if made is not None:
            event = audit.describe(ctx, "key.rotated", brand_id=RESERVED_BRAND_ID, details={"kid": made.kid})
            await audit.record(tx, event)
    return made


def _as_text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
