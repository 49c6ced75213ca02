"""SQL of brands and their tokens. The only store without brand scope: its rows are the brands."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    Table,
    bindparam,
    func,
    or_,
    select,
    update,
)

from keystead.brands.model import Brand, active_brand, brand
from keystead.context import RESERVED_BRAND_ID, ActiveBrand
from keystead.db.interface import Tx
from keystead.db.statements import Statement, insert
from keystead.db.types import Boolean, Digest, Id, Json, Text, UtcTime, metadata

brands = Table(
    "brands",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("preset", Text, nullable=False),
    Column("features", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("base_url", Text),
    Column("redirect_urls", Json, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)

brand_tokens = Table(
    "brand_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("digest", Digest, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    Index("ix_brand_tokens_brand_id", "brand_id"),
)

_C = brands.c
BRAND_COLUMNS = (_C.id, _C.name, _C.preset, _C.features, _C.policy, _C.schema_version)
"""The arguments of ``model.active_brand``, for joins that read a credential and its brand in one row."""
IS_ACTIVE: ColumnElement[bool] = _C.is_disabled.is_(False)
"""The brand is not disabled."""

_ALL = [_C[name] for name in Brand.__struct_fields__]
_BY_ID = _C.id == bindparam("brand_id")
_BY_NAME = or_(_C.name == bindparam("name"), _C.id == bindparam("name"))

_FIND_ACTIVE_BY_NAME = Statement(select(*BRAND_COLUMNS).where(_BY_NAME, IS_ACTIVE))
_FIND_BY_TOKEN = Statement(
    select(brand_tokens.c.id, *BRAND_COLUMNS)
    .join_from(brand_tokens, brands, brand_tokens.c.brand_id == _C.id)
    .where(brand_tokens.c.digest == bindparam("digest"), brand_tokens.c.revoked_at.is_(None), IS_ACTIVE),
    unbranded="the digest of the token names the brand",
)
_LIST_TWO = Statement(select(_C.is_disabled, *BRAND_COLUMNS).where(_C.id != bindparam("reserved")).limit(2))
_FIND = Statement(select(*_ALL).where(_BY_ID))
_FIND_BY_NAME = Statement(select(*_ALL).where(_BY_NAME))
_LOCK = Statement(select(*_ALL).where(_BY_ID).with_for_update())
# FOR NO KEY UPDATE: rows that refer to the brand can still be inserted.
_HOLD = Statement(select(_C.id).where(_BY_ID).with_for_update(key_share=True))
_LIST = Statement(select(*_ALL).order_by(_C.id).limit(bindparam("limit")).offset(bindparam("offset")))
_COUNT = Statement(select(func.count()).select_from(brands))
_INSERT = Statement(
    insert(brands).values({column.name: bindparam(column.name) for column in _ALL}).on_conflict_do_nothing()
)
_CHANGE = Statement(
    update(brands)
    .where(_BY_ID)
    .values(
        features=bindparam("features"),
        policy=bindparam("policy"),
        base_url=bindparam("base_url"),
        redirect_urls=bindparam("redirect_urls"),
        updated_at=bindparam("updated_at"),
    )
)
_SET_DISABLED = Statement(
    update(brands)
    .where(_BY_ID, _C.is_disabled != bindparam("is_disabled"))
    .values(is_disabled=bindparam("is_disabled"), updated_at=bindparam("now"))
)
_BUMP = Statement(
    update(brands).where(_BY_ID).values(schema_version=_C.schema_version + 1).returning(_C.schema_version)
)

_INSERT_TOKEN = Statement(
    insert(brand_tokens).values(
        id=bindparam("id"),
        brand_id=bindparam("brand_id"),
        digest=bindparam("digest"),
        hint=bindparam("hint"),
        created_at=bindparam("created_at"),
    )
)
_REVOKE_TOKENS = Statement(
    update(brand_tokens)
    .where(brand_tokens.c.brand_id == bindparam("brand_id"), brand_tokens.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("now"))
    .returning(brand_tokens.c.id)
)


async def find_active_by_name(tx: Tx, name: str) -> ActiveBrand | None:
    """Return the active brand of that name or id. No name looks like an id: ids begin with a digit."""
    row = await tx.find(_FIND_ACTIVE_BY_NAME, name=name)
    return active_brand(row) if row else None


async def find_by_token(tx: Tx, digest: bytes) -> tuple[str, ActiveBrand] | None:
    """Return the id and brand of a token, or None if it is revoked or the brand disabled."""
    row = await tx.find(_FIND_BY_TOKEN, digest=digest)
    return (row[0], active_brand(row[1:])) if row else None


async def find_only(tx: Tx) -> ActiveBrand | None:
    """Return the only brand beside the reserved one; None if it is disabled, or for none or several brands."""
    rows = await tx.list(_LIST_TWO, reserved=RESERVED_BRAND_ID)
    return active_brand(rows[0][1:]) if len(rows) == 1 and not rows[0][0] else None


async def find_brand(tx: Tx, brand_id: str) -> Brand | None:
    """Return the brand, also a disabled one."""
    row = await tx.find(_FIND, brand_id=brand_id)
    return brand(row) if row else None


async def find_brand_by_name(tx: Tx, name: str) -> Brand | None:
    """Return the brand of that name or id, also a disabled one."""
    row = await tx.find(_FIND_BY_NAME, name=name)
    return brand(row) if row else None


async def lock_brand(tx: Tx, brand_id: str) -> Brand | None:
    """As :func:`find_brand`, and lock the row until the transaction ends."""
    row = await tx.find(_LOCK, brand_id=brand_id)
    return brand(row) if row else None


async def hold_brand(tx: Tx, brand_id: str) -> None:
    """Lock the brand until the transaction ends, for others that lock it too."""
    await tx.find(_HOLD, brand_id=brand_id)


async def list_brands(tx: Tx, limit: int, offset: int) -> list[Brand]:
    """Return up to ``limit`` brands, the reserved one first, then oldest first."""
    return [brand(row) for row in await tx.list(_LIST, limit=limit, offset=offset)]


async def count_brands(tx: Tx) -> int:
    """Count brands, including disabled ones and the reserved one."""
    row = await tx.find(_COUNT)
    return int(row[0]) if row else 0


async def insert_brand(tx: Tx, new: Brand) -> bool:
    """Insert a brand; returns False if its name or id is taken."""
    return await tx.execute(_INSERT, **(msgspec.structs.asdict(new) | _stored_choices(new))) == 1


async def change_brand(tx: Tx, changed: Brand) -> None:
    """Write the values that an administrator may change. Lock the brand before."""
    await tx.execute(
        _CHANGE,
        brand_id=changed.id,
        base_url=changed.base_url,
        redirect_urls=changed.redirect_urls,
        updated_at=changed.updated_at,
        **{name: text for name, text in _stored_choices(changed).items() if name != "preset"},
    )


async def set_disabled(tx: Tx, brand_id: str, is_disabled: bool, now: datetime) -> bool:
    """Disable or enable the brand; returns False if nothing changed."""
    return await tx.execute(_SET_DISABLED, brand_id=brand_id, is_disabled=is_disabled, now=now) == 1


async def bump_schema_version(tx: Tx, brand_id: str) -> int | None:
    """Increment the schema version; returns it, or None for an unknown brand."""
    row = await tx.find(_BUMP, brand_id=brand_id)
    return int(row[0]) if row else None


async def insert_token(tx: Tx, brand_id: str, token_id: str, digest: bytes, hint: str, now: datetime) -> None:
    """Insert a brand token."""
    await tx.execute(_INSERT_TOKEN, brand_id=brand_id, id=token_id, digest=digest, hint=hint, created_at=now)


async def revoke_tokens(tx: Tx, brand_id: str, now: datetime) -> list[str]:
    """Revoke every valid token of the brand; returns their ids."""
    return [row[0] for row in await tx.list(_REVOKE_TOKENS, brand_id=brand_id, now=now)]


def _stored_choices(of: Brand) -> dict[str, str]:
    return {
        "preset": of.preset.value,
        "features": msgspec.json.encode(of.features).decode(),
        "policy": msgspec.json.encode(of.policy).decode(),
    }
