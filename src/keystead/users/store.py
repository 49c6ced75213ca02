"""SQL of users. Their roles have a store of their own, in ``roles``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    Table,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    text,
    type_coerce,
    update,
)

from keystead.brands.store import brands
from keystead.context import Profile
from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement, any_of, insert, paged
from keystead.db.types import Boolean, Id, Text, UtcTime, Words, metadata
from keystead.permissions import ADMIN, PermissionSet
from keystead.policy import parse_policy
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import LoginCandidate, User, UserRow
from keystead.users.roles.store import JoinedWords, roles, user_roles

_IS_GRANTED = text("permissions <> ''")

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("username", Text),
    # The login address: as its owner writes it, as it is compared, and as look-alikes are told apart.
    Column("email", Text),
    Column("email_canonical", Text),
    Column("email_skeleton", Text),
    Column("verified_at", UtcTime),
    # An address that waits for proof, in its three forms; the password that comes with it, and the session that
    # claimed it. See the slice ``claims``.
    Column("pending_email", Text),
    Column("pending_email_canonical", Text),
    Column("pending_email_skeleton", Text),
    Column("pending_password_hash", Text),
    Column("pending_session_id", Id),
    Column("pending_at", UtcTime),
    Column("password_hash", Text),
    Column("permissions", Words, nullable=False),
    Column("session_epoch", Integer, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("last_login_at", UtcTime),
    Index("uq_users_brand_id_email_canonical", "brand_id", "email_canonical", unique=True),
    Index("uq_users_brand_id_email_skeleton", "brand_id", "email_skeleton", unique=True),
    Index("ix_users_brand_id_pending_email_skeleton", "brand_id", "pending_email_skeleton"),
    Index("ix_users_brand_id_id", "brand_id", "id"),
    # The few with permissions of their own: what was granted on an entity is found among them.
    Index("ix_users_granted", "brand_id", "id", sqlite_where=_IS_GRANTED, postgresql_where=_IS_GRANTED),
)

ROLE_NAMES = (
    select(JoinedWords(user_roles.c.role_name))
    .where(user_roles.c.brand_id == users.c.brand_id, user_roles.c.user_id == users.c.id)
    .correlate(users)
    .scalar_subquery()
)
"""The names of the user's roles, with spaces between them, in no order; NULL without any."""

# No join: PostgreSQL without statistics would begin with all roles of the brand, for each user.
_PERMISSIONS_OF_ROLE = (
    select(type_coerce(roles.c.permissions, Text))
    .where(roles.c.brand_id == user_roles.c.brand_id, roles.c.name == user_roles.c.role_name)
    .correlate(user_roles)
    .scalar_subquery()
)
_ROLE_PERMISSIONS = (
    select(JoinedWords(_PERMISSIONS_OF_ROLE))
    .where(user_roles.c.brand_id == users.c.brand_id, user_roles.c.user_id == users.c.id)
    .correlate(users)
    .scalar_subquery()
)

EFFECTIVE_PERMISSIONS = (
    type_coerce(users.c.permissions, Text) + literal(" ", Text) + func.coalesce(_ROLE_PERMISSIONS, literal("", Text))
)
"""The user's own permissions and those of their roles, as words for ``PermissionSet.parse``; the brand's are not in."""

PROFILE_COLUMNS = (
    users.c.email,
    users.c.pending_email,
    users.c.username,
    users.c.verified_at,
    users.c.created_at,
    users.c.updated_at,
    users.c.last_login_at,
    ROLE_NAMES,
    EFFECTIVE_PERMISSIONS,
)
"""What :func:`read_profile` reads, for joins in other stores."""


def read_profile(row: Row, default_permissions: Sequence[str]) -> Profile:
    """The profile in a row of ``PROFILE_COLUMNS``; ``default_permissions`` are those of the brand's policy."""
    email, pending, username, verified_at, created_at, updated_at, last_login_at, role_names, words = row
    if default_permissions:
        words = f"{words} {' '.join(default_permissions)}"
    return Profile(
        email=email or pending,
        username=username,
        is_verified=email is not None and verified_at is not None,
        is_anonymous=email is None,
        created_at=created_at,
        updated_at=updated_at,
        last_login_at=last_login_at,
        roles=tuple(sorted(role_names.split())) if role_names else (),
        granted=PermissionSet.parse(words),
    )


_IN_BRAND = users.c.brand_id == bindparam("brand_id")
_ONE_USER = (_IN_BRAND, users.c.id == bindparam("user_id"))
_POLICY = select(brands.c.policy).where(brands.c.id == users.c.brand_id).correlate(users).scalar_subquery()
_USERS = select(users.c.id, users.c.is_disabled, _POLICY, *PROFILE_COLUMNS).where(_IN_BRAND)
_LOGINS = select(users.c.id, users.c.password_hash, users.c.is_disabled).where(_IN_BRAND)


def _change(*conditions: ColumnElement[bool], **values: Any) -> Statement:
    return Statement(update(users).where(*_ONE_USER, *conditions).values(**values))


_FIND_USER = Statement(_USERS.where(users.c.id == bindparam("user_id")))
_PAGE = paged(select(users.c.id).where(_IN_BRAND).order_by(users.c.id))
_LIST_USERS = Statement(_USERS.where(users.c.id.in_(_PAGE)).order_by(users.c.id))
_COUNT_USERS = Statement(select(func.count()).select_from(users).where(_IN_BRAND))
_FIND_LOGIN = Statement(_LOGINS.where(users.c.email_canonical == bindparam("canonical")))
_FIND_LOGIN_OF = Statement(_LOGINS.where(users.c.id == bindparam("user_id"), users.c.email_canonical.is_not(None)))
_IS_TAKEN = Statement(
    select(users.c.id).where(
        _IN_BRAND,
        or_(
            users.c.email_canonical == bindparam("canonical"),
            users.c.email_skeleton == bindparam("skeleton"),
        ),
    )
)
_INSERT_USER = Statement(
    insert(users)
    .values({column.name: bindparam(column.name) for column in users.columns})
    .on_conflict_do_nothing()
    .returning(users.c.id)
)
_SET_USERNAME = _change(username=bindparam("new"))
_SET_PERMISSIONS = _change(permissions=bindparam("new"))
_TOUCH = _change(updated_at=bindparam("now"))
_DISABLE = _change(users.c.is_disabled.is_(False), is_disabled=True, session_epoch=users.c.session_epoch + 1)
_ENABLE = _change(users.c.is_disabled.is_(True), is_disabled=False)
_BUMP_EPOCH = _change(session_epoch=users.c.session_epoch + 1)
_REPLACE_HASH = _change(users.c.password_hash == bindparam("as_read"), password_hash=bindparam("new"))
_DELETE_USERS = Statement(delete(users).where(_IN_BRAND, any_of(users.c.id, "ids")).returning(users.c.id))
_ACTIVE = (_IN_BRAND, users.c.is_disabled.is_(False))
_HOLD_USER = Statement(select(users.c.is_disabled).where(*_ONE_USER).with_for_update(read=True))
_FIND_POLICY = Statement(select(brands.c.policy).where(brands.c.id == bindparam("brand_id")))


def _holds_admin(words: ColumnElement[Any]) -> ColumnElement[bool]:
    return (literal(" ", Text) + type_coerce(words, Text) + literal(" ", Text)).like(literal(f"% {ADMIN} %", Text))


_HOLDS_ADMIN_BY_ROLE = (
    select(user_roles.c.role_name)
    .where(
        user_roles.c.brand_id == users.c.brand_id,
        user_roles.c.user_id == users.c.id,
        roles.c.brand_id == user_roles.c.brand_id,
        roles.c.name == user_roles.c.role_name,
        _holds_admin(roles.c.permissions),
    )
    .correlate(users)
    .exists()
)
# Unindexed, and run only where an administrator gives up their own ``admin``: it ends at the first one it finds.
_FIND_ADMIN = Statement(
    select(users.c.id)
    .where(
        *_ACTIVE,
        users.c.email_canonical.is_not(None),
        or_(
            bindparam("is_default", type_=Boolean()).is_(True), _holds_admin(users.c.permissions), _HOLDS_ADMIN_BY_ROLE
        ),
    )
    .limit(1)
)


def _user(row: Row) -> User:
    return User(row[0], row[1], read_profile(row[3:], parse_policy(row[2]).default_permissions))


async def find_user(tx: Tx, brand_id: str, user_id: str) -> User | None:
    """The user, or None when the brand has none of this id."""
    row = await tx.find(_FIND_USER, brand_id=brand_id, user_id=user_id)
    return None if row is None else _user(row)


async def list_users(tx: Tx, brand_id: str, limit: int, offset: int) -> list[User]:
    """Up to ``limit`` users of the brand, the oldest first."""
    return [_user(row) for row in await tx.list(_LIST_USERS, brand_id=brand_id, limit=limit, offset=offset)]


async def count_users(tx: Tx, brand_id: str) -> int:
    """How many users the brand has."""
    row = await tx.find(_COUNT_USERS, brand_id=brand_id)
    return int(row[0]) if row else 0


async def find_login(tx: Tx, brand_id: str, canonical: str) -> LoginCandidate | None:
    """Whom the login address belongs to; an address that waits for proof is nobody's."""
    row = await tx.find(_FIND_LOGIN, brand_id=brand_id, canonical=canonical)
    return None if row is None else LoginCandidate(*row)


async def find_login_of(tx: Tx, brand_id: str, user_id: str) -> LoginCandidate | None:
    """The same by the user's id; None for a user without a login address."""
    row = await tx.find(_FIND_LOGIN_OF, brand_id=brand_id, user_id=user_id)
    return None if row is None else LoginCandidate(*row)


async def is_taken(tx: Tx, brand_id: str, address: EmailAddress) -> bool:
    """Whether the address, or one that looks the same, is a login of the brand."""
    canonical, skeleton = address.canonical, address.skeleton
    return await tx.find(_IS_TAKEN, brand_id=brand_id, canonical=canonical, skeleton=skeleton) is not None


async def insert_user(tx: Tx, brand_id: str, user: UserRow) -> bool:
    """Adds the user; False when the login address is taken."""
    return await tx.find(_INSERT_USER, brand_id=brand_id, **asdict(user)) is not None


async def set_username(tx: Tx, brand_id: str, user_id: str, username: str | None) -> None:
    """Names the user, or takes the name away."""
    await tx.execute(_SET_USERNAME, brand_id=brand_id, user_id=user_id, new=username)


async def set_permissions(tx: Tx, brand_id: str, user_id: str, permissions: Sequence[str]) -> None:
    """Replaces what the user is allowed directly."""
    await tx.execute(_SET_PERMISSIONS, brand_id=brand_id, user_id=user_id, new=permissions)


async def set_disabled(tx: Tx, brand_id: str, user_id: str, is_disabled: bool) -> bool:
    """Disables the user and ends all their sessions, or lets them in again; whether that was a change."""
    statement = _DISABLE if is_disabled else _ENABLE
    return await tx.execute(statement, brand_id=brand_id, user_id=user_id) > 0


async def touch(tx: Tx, brand_id: str, user_id: str, now: datetime) -> bool:
    """Notes that the user was changed; False when there is none. Locks the row until the transaction ends."""
    return await tx.execute(_TOUCH, brand_id=brand_id, user_id=user_id, now=now) > 0


async def bump_epoch(tx: Tx, brand_id: str, user_id: str) -> None:
    """Ends all sessions of the user at once (security §3)."""
    await tx.execute(_BUMP_EPOCH, brand_id=brand_id, user_id=user_id)


async def replace_hash(tx: Tx, brand_id: str, user_id: str, as_read: str, new: str) -> bool:
    """Replaces the password's hash unless it was changed since it was read; whether it did."""
    return await tx.execute(_REPLACE_HASH, brand_id=brand_id, user_id=user_id, as_read=as_read, new=new) > 0


async def delete_users(tx: Tx, brand_id: str, user_ids: Sequence[str]) -> int:
    """Deletes users of the brand, with their sessions; how many there were."""
    return len(await tx.list(_DELETE_USERS, brand_id=brand_id, ids=list(user_ids)))


async def hold_active(tx: Tx, brand_id: str, user_id: str) -> bool:
    """Whether the user is there and not disabled; neither changes until the transaction ends."""
    row = await tx.find(_HOLD_USER, brand_id=brand_id, user_id=user_id)
    return row is not None and not row[0]


async def has_admin(tx: Tx, brand_id: str) -> bool:
    """Whether an active user with a login address holds ``admin``, directly, by a role or by the brand's defaults."""
    row = await tx.find(_FIND_POLICY, brand_id=brand_id)
    is_default = row is not None and ADMIN in parse_policy(row[0]).default_permissions
    return await tx.find(_FIND_ADMIN, brand_id=brand_id, is_default=is_default) is not None
