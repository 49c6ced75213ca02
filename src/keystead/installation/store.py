"""SQL of the installation's own tables. They belong to no brand."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, LargeBinary, Table, bindparam, or_, select, update

from keystead.db.interface import Tx
from keystead.db.statements import Statement, insert
from keystead.db.types import Text, UtcTime, metadata
from keystead.installation.model import KeyTimes

CHECK_VALUE = "master_key_check"
KEYRING_VERSION = "keyring_version"

installation = Table(
    "installation",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("private_key", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("activates_at", UtcTime, nullable=False),
    Column("retires_at", UtcTime),
    Column("dropped_at", UtcTime),
    Column("revoked_at", UtcTime),
)
"""``model.KeyTimes.state`` derives the state from these times."""

_KEY = signing_keys.c
_TIMES = [_KEY[name] for name in KeyTimes.__struct_fields__]
_IS_NAMED = installation.c.name == bindparam("named")
_IS_KEY = _KEY.kid == bindparam("key_id")

_READ = select(installation.c.value).where(_IS_NAMED)
_FIND_VALUE = Statement(_READ)
_LOCK_VALUE = Statement(_READ.with_for_update())
_INSERT_VALUE = Statement(
    insert(installation)
    .values(name=bindparam("name"), value=bindparam("value"))
    .on_conflict_do_nothing(index_elements=["name"])
)
_CHANGE_VALUE = Statement(
    update(installation).where(_IS_NAMED, installation.c.value == bindparam("old")).values(value=bindparam("new"))
)
_TAKE_LEASE = Statement(
    update(installation)
    .where(
        _IS_NAMED,
        or_(
            installation.c.value < bindparam("now"),
            installation.c.value > bindparam("latest"),
            installation.c.value.endswith(bindparam("holder")),
        ),
    )
    .values(value=bindparam("value"))
)

CURRENT_KEYRING_VERSION = select(installation.c.value).where(installation.c.name == KEYRING_VERSION).scalar_subquery()
"""For statements after which an access token is signed: saves a separate read. A text, as stored."""

_LIST_KEYS = Statement(select(*_TIMES).order_by(_KEY.activates_at, _KEY.kid))
_LIST_PRIVATE = Statement(select(_KEY.kid, _KEY.private_key).where(_KEY.revoked_at.is_(None)))
_INSERT_KEY = Statement(
    insert(signing_keys).values(
        kid=bindparam("kid"),
        private_key=bindparam("private_key"),
        created_at=bindparam("created_at"),
        activates_at=bindparam("activates_at"),
    )
)
_SCHEDULE = Statement(
    update(signing_keys)
    .where(_IS_KEY, _KEY.revoked_at.is_(None))
    .values(
        activates_at=bindparam("activates_at"),
        retires_at=bindparam("retires_at"),
        dropped_at=bindparam("dropped_at"),
    )
)
_REVOKE = Statement(update(signing_keys).where(_IS_KEY, _KEY.revoked_at.is_(None)).values(revoked_at=bindparam("now")))


async def find_value(tx: Tx, name: str) -> str | None:
    """The installation's value of ``name``."""
    row = await tx.find(_FIND_VALUE, named=name)
    return row[0] if row else None


async def lock_value(tx: Tx, name: str) -> str | None:
    """As :func:`find_value`, and lock the row until the transaction ends."""
    row = await tx.find(_LOCK_VALUE, named=name)
    return row[0] if row else None


async def insert_value(tx: Tx, name: str, value: str) -> None:
    """Insert ``value`` as ``name``, unless there is one."""
    await tx.execute(_INSERT_VALUE, name=name, value=value)


async def change_value(tx: Tx, name: str, old: str, new: str) -> bool:
    """Replace ``old`` by ``new`` (compare-and-swap); False when the value is another one."""
    return await tx.execute(_CHANGE_VALUE, named=name, old=old, new=new) == 1


async def take_lease(tx: Tx, name: str, holder: str, now: str, until: str, latest: str) -> bool:
    """Take the lease unless another holder has it until between ``now`` and ``latest``.

    The times are texts of one width, whose order is time order.
    """
    await tx.execute(_INSERT_VALUE, name=name, value="")
    value = f"{until} {holder}"
    return await tx.execute(_TAKE_LEASE, named=name, now=now, latest=latest, holder=f" {holder}", value=value) == 1


async def list_keys(tx: Tx) -> list[KeyTimes]:
    """All signing keys, retired ones too, the oldest first."""
    return [KeyTimes(*row) for row in await tx.list(_LIST_KEYS)]


async def list_private_keys(tx: Tx) -> dict[str, bytes]:
    """The encrypted private half of every signing key that was not revoked, by ``kid``."""
    return {row[0]: row[1] for row in await tx.list(_LIST_PRIVATE)}


async def insert_key(tx: Tx, times: KeyTimes, private_key: bytes) -> None:
    """Insert a signing key that is not scheduled to retire."""
    await tx.execute(
        _INSERT_KEY,
        kid=times.kid,
        private_key=private_key,
        created_at=times.created_at,
        activates_at=times.activates_at,
    )


async def schedule_key(
    tx: Tx, kid: str, activates_at: datetime, retires_at: datetime | None, dropped_at: datetime | None
) -> None:
    """Change the schedule of a key, unless it was revoked."""
    await tx.execute(_SCHEDULE, key_id=kid, activates_at=activates_at, retires_at=retires_at, dropped_at=dropped_at)


async def revoke_key(tx: Tx, kid: str, now: datetime) -> bool:
    """Revoke a key; False when there is none, or it is revoked already."""
    return await tx.execute(_REVOKE, key_id=kid, now=now) == 1
