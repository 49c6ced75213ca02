"""SQL of API keys and the digests of their secrets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Table,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from keystead.api_keys.model import ApiKey, FoundKey
from keystead.brands.model import active_brand
from keystead.brands.store import BRAND_COLUMNS, IS_ACTIVE, brands
from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement, any_of, insert, paged
from keystead.db.types import Boolean, Digest, Id, Text, UtcTime, Words, metadata
from keystead.permissions import PermissionSet

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("permissions", Words, nullable=False),
    Column("is_publishable", Boolean, nullable=False),
    Column("allowed_origins", Words, nullable=False),
    Column("hint", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    # No foreign key: a key outlives the user who made it.
    Column("created_by", Id),
    Column("expires_at", UtcTime),
    Column("last_used_at", UtcTime),
    Index("ix_api_keys_brand_id_id", "brand_id", "id"),
    Index("ix_api_keys_brand_id_created_by", "brand_id", "created_by"),
)

api_key_secrets = Table(
    "api_key_secrets",
    metadata,
    Column("digest", Digest, primary_key=True),
    Column("brand_id", Id, nullable=False),
    Column("key_id", Id, ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    # Set when the key was rotated with an overlap: the old secret's last moment.
    Column("valid_until", UtcTime),
    Index("ix_api_key_secrets_key_id", "key_id"),
)

_k, _s = api_keys.c, api_key_secrets.c
_of_brand = _k.brand_id == bindparam("brand_id")
_one = (_of_brand, _k.id == bindparam("key_id"))

_COLUMNS = (
    _k.id,
    _k.name,
    _k.description,
    _k.permissions,
    _k.is_publishable,
    _k.allowed_origins,
    _k.hint,
    _k.created_at,
    _k.created_by,
    _k.expires_at,
    _k.last_used_at,
)

_FIND_BY_DIGEST = Statement(
    select(_k.id, _k.permissions, _k.is_publishable, _k.allowed_origins, _k.created_by, _k.last_used_at, *BRAND_COLUMNS)
    .select_from(api_key_secrets.join(api_keys, _k.id == _s.key_id).join(brands, brands.c.id == _k.brand_id))
    .where(
        _s.digest == bindparam("digest"),
        or_(_s.valid_until.is_(None), _s.valid_until > bindparam("now", type_=UtcTime())),
        or_(_k.expires_at.is_(None), _k.expires_at > bindparam("now", type_=UtcTime())),
        IS_ACTIVE,
    ),
    unbranded="the digest names the key, and the key its brand",
)
_FIND = Statement(select(*_COLUMNS).where(*_one))
_LOCK = Statement(select(*_COLUMNS).where(*_one).with_for_update())
_PAGE = paged(select(_k.id).where(_of_brand).order_by(_k.id))
_LIST = Statement(select(*_COLUMNS).where(_of_brand, _k.id.in_(_PAGE)).order_by(_k.id))
_COUNT = Statement(select(func.count()).select_from(api_keys).where(_of_brand))
_INSERT = Statement(insert(api_keys).values({c.name: bindparam(c.name) for c in api_keys.c}))
_INSERT_SECRET = Statement(insert(api_key_secrets).values({c.name: bindparam(c.name) for c in api_key_secrets.c}))
_UPDATE = Statement(
    update(api_keys)
    .where(*_one)
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("name", "description", "permissions", "expires_at", "allowed_origins")
        }
    )
    .returning(*_COLUMNS)
)
_SET_HINT = Statement(update(api_keys).where(*_one).values(hint=bindparam("new_hint")).returning(*_COLUMNS))
_EXPIRE_SECRETS = Statement(
    update(api_key_secrets)
    .where(
        _s.brand_id == bindparam("brand_id"),
        _s.key_id == bindparam("key_id"),
        or_(_s.valid_until.is_(None), _s.valid_until > bindparam("until", type_=UtcTime())),
    )
    .values(valid_until=bindparam("until", type_=UtcTime()))
)
_DELETE = Statement(delete(api_keys).where(_of_brand, any_of(_k.id, "ids")).returning(*_COLUMNS))
_MADE_BY = (_of_brand, any_of(_k.created_by, "user_ids"))
_IS_LIVE = or_(_k.expires_at.is_(None), _k.expires_at > bindparam("now", type_=UtcTime()))
_LIST_LIVE_OF = Statement(select(*_COLUMNS).where(*_MADE_BY, _IS_LIVE).order_by(_k.id.desc()).limit(bindparam("limit")))
_COUNT_LIVE_OF = Statement(select(func.count()).select_from(api_keys).where(*_MADE_BY, _IS_LIVE))
_DELETE_OF = Statement(delete(api_keys).where(*_MADE_BY).returning(*_COLUMNS))
_TOUCH = Statement(
    update(api_keys)
    .where(
        *_one,
        or_(
            _k.last_used_at.is_(None),
            _k.last_used_at < bindparam("at", type_=UtcTime()),
            _k.last_used_at > bindparam("latest", type_=UtcTime()),
        ),
    )
    .values(last_used_at=bindparam("at", type_=UtcTime()))
)


def _key(row: Row) -> ApiKey:
    (
        id_,
        name,
        description,
        permissions,
        publishable,
        origins,
        hint,
        created_at,
        created_by,
        expires_at,
        used_at,
    ) = row
    return ApiKey(
        id_,
        name,
        description,
        PermissionSet(permissions),
        publishable,
        origins,
        hint,
        created_at,
        created_by,
        expires_at,
        used_at,
    )


async def find_by_digest(tx: Tx, digest: bytes, now: datetime) -> FoundKey | None:
    """Return the key whose secret has this digest, if it is valid now and its brand is active."""
    row = await tx.find(_FIND_BY_DIGEST, digest=digest, now=now)
    if row is None:
        return None
    return FoundKey(row[0], PermissionSet(row[1]), row[2], row[3], row[4], row[5], active_brand(row[6:]))


async def find_key(tx: Tx, brand_id: str, key_id: str) -> ApiKey | None:
    """Return the key of this id."""
    row = await tx.find(_FIND, brand_id=brand_id, key_id=key_id)
    return None if row is None else _key(row)


async def lock_key(tx: Tx, brand_id: str, key_id: str) -> ApiKey | None:
    """As :func:`find_key`, and lock the row until the transaction ends."""
    row = await tx.find(_LOCK, brand_id=brand_id, key_id=key_id)
    return None if row is None else _key(row)


async def list_keys(tx: Tx, brand_id: str, limit: int, offset: int) -> list[ApiKey]:
    """Return keys, oldest first."""
    return [_key(row) for row in await tx.list(_LIST, brand_id=brand_id, limit=limit, offset=offset)]


async def count_keys(tx: Tx, brand_id: str) -> int:
    """Count the brand's keys."""
    row = await tx.find(_COUNT, brand_id=brand_id)
    return int(row[0]) if row else 0


async def insert_key(tx: Tx, brand_id: str, key: ApiKey) -> None:
    """Insert a key; its secret is inserted by :func:`insert_secret`."""
    await tx.execute(
        _INSERT,
        brand_id=brand_id,
        id=key.id,
        name=key.name,
        description=key.description,
        permissions=tuple(key.permissions),
        is_publishable=key.is_publishable,
        allowed_origins=key.allowed_origins,
        hint=key.hint,
        created_at=key.created_at,
        created_by=key.created_by,
        expires_at=key.expires_at,
        last_used_at=None,
    )


async def insert_secret(tx: Tx, brand_id: str, key_id: str, digest: bytes, now: datetime) -> None:
    """Insert a secret that is valid as long as its key."""
    await tx.execute(_INSERT_SECRET, brand_id=brand_id, key_id=key_id, digest=digest, created_at=now, valid_until=None)


async def update_key(tx: Tx, brand_id: str, key_id: str, new: dict[str, Any]) -> ApiKey | None:
    """Set name, description, permissions, expires_at and allowed_origins; returns None if there is no such key."""
    row = await tx.find(
        _UPDATE, brand_id=brand_id, key_id=key_id, **{f"new_{name}": value for name, value in new.items()}
    )
    return None if row is None else _key(row)


async def set_hint(tx: Tx, brand_id: str, key_id: str, hint: str) -> ApiKey | None:
    """Set the hint of the newest secret; returns None if there is no such key."""
    row = await tx.find(_SET_HINT, brand_id=brand_id, key_id=key_id, new_hint=hint)
    return None if row is None else _key(row)


async def expire_secrets(tx: Tx, brand_id: str, key_id: str, until: datetime) -> None:
    """Let the key's current secrets expire at ``until``, unless they expire sooner."""
    await tx.execute(_EXPIRE_SECRETS, brand_id=brand_id, key_id=key_id, until=until)


async def delete_keys(tx: Tx, brand_id: str, ids: Sequence[str]) -> list[ApiKey]:
    """Delete keys and their secrets; returns the deleted keys."""
    return [_key(row) for row in await tx.list(_DELETE, brand_id=brand_id, ids=list(ids))]


async def list_live_of(tx: Tx, brand_id: str, user_id: str, now: datetime, limit: int) -> list[ApiKey]:
    """Return unexpired keys attributed to the user, newest first."""
    rows = await tx.list(_LIST_LIVE_OF, brand_id=brand_id, user_ids=[user_id], now=now, limit=limit)
    return [_key(row) for row in rows]


async def count_live_of(tx: Tx, brand_id: str, user_id: str, now: datetime) -> int:
    """Count unexpired keys attributed to the user."""
    row = await tx.find(_COUNT_LIVE_OF, brand_id=brand_id, user_ids=[user_id], now=now)
    return int(row[0]) if row else 0


async def delete_keys_of(tx: Tx, brand_id: str, user_ids: Sequence[str]) -> list[ApiKey]:
    """Delete the keys attributed to the users, with their secrets; returns the deleted keys."""
    return [_key(row) for row in await tx.list(_DELETE_OF, brand_id=brand_id, user_ids=list(user_ids))]


async def touch(tx: Tx, brand_id: str, key_id: str, at: datetime, latest: datetime) -> None:
    """Set ``last_used_at`` to ``at``, unless a later time, up to ``latest``, is stored."""
    await tx.execute(_TOUCH, brand_id=brand_id, key_id=key_id, at=at, latest=latest)
