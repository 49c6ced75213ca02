"""SQL of users and their profiles. Logins are in ``login_store``, e-mail changes in ``email_change_store``."""

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
from keystead.users.model import User, UserRow
from keystead.users.role_store import JoinedWords, roles, user_roles

_IS_GRANTED = text("permissions <> ''")

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("username", Text),
    # The login address: as its owner writes it, as it is compared, and the form that look-alikes share.
    Column("email", Text),
    Column("email_canonical", Text),
    Column("email_skeleton", Text),
    Column("verified_at", UtcTime),
    # A pending e-mail change: the address in its three forms, the password that was chosen with it, and the session
    # that requested it. See ``email_change_store``.
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
    # Users with permissions of their own, few: finds who was granted one on an entity.
    Index("ix_users_granted", "brand_id", "id", sqlite_where=_IS_GRANTED, postgresql_where=_IS_GRANTED),
)

ROLE_NAMES = (
    select(JoinedWords(user_roles.c.role_name))
    .where(user_roles.c.brand_id == users.c.brand_id, user_roles.c.user_id == users.c.id)
    .correlate(users)
    .scalar_subquery()
)
"""The names of the user's roles, separated by spaces, in no order; NULL without any."""

# No join: PostgreSQL without statistics would start from all roles of the brand, for each user.
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
"""The user's own permissions and those of their roles, as words for ``PermissionSet.parse``; without the brand's."""

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
    """Build the profile from a row of ``PROFILE_COLUMNS``; ``default_permissions`` are those of the brand's policy."""
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


def _change(*conditions: ColumnElement[bool], **values: Any) -> Statement:
    return Statement(update(users).where(*_ONE_USER, *conditions).values(**values))


_FIND_USER = Statement(_USERS.where(users.c.id == bindparam("user_id")))
_PAGE = paged(select(users.c.id).where(_IN_BRAND).order_by(users.c.id))
_LIST_USERS = Statement(_USERS.where(users.c.id.in_(_PAGE)).order_by(users.c.id))
_COUNT_USERS = Statement(select(func.count()).select_from(users).where(_IN_BRAND))
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
_DELETE_USERS = Statement(delete(users).where(_IN_BRAND, any_of(users.c.id, "ids")).returning(users.c.id))
_ACTIVE = (_IN_BRAND, users.c.is_disabled.is_(False))
_LOCK_USER = Statement(select(users.c.is_disabled).where(*_ONE_USER).with_for_update(read=True))
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
# Not indexed; runs only where an administrator gives up their own ``admin``, and stops at the first match.
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
    """The user of this id, or None when the brand has none."""
    row = await tx.find(_FIND_USER, brand_id=brand_id, user_id=user_id)
    return None if row is None else _user(row)


async def list_users(tx: Tx, brand_id: str, limit: int, offset: int) -> list[User]:
    """Up to ``limit`` users of the brand, oldest first."""
    return [_user(row) for row in await tx.list(_LIST_USERS, brand_id=brand_id, limit=limit, offset=offset)]


async def count_users(tx: Tx, brand_id: str) -> int:
    """The number of users of the brand."""
    row = await tx.find(_COUNT_USERS, brand_id=brand_id)
    return int(row[0]) if row else 0


async def is_taken(tx: Tx, brand_id: str, address: EmailAddress) -> bool:
    """Return whether the address, or a look-alike, is a login of the brand."""
    canonical, skeleton = address.canonical, address.skeleton
    return await tx.find(_IS_TAKEN, brand_id=brand_id, canonical=canonical, skeleton=skeleton) is not None


async def insert_user(tx: Tx, brand_id: str, user: UserRow) -> bool:
    """Add the user; False when the login address is taken."""
    return await tx.find(_INSERT_USER, brand_id=brand_id, **asdict(user)) is not None


async def set_username(tx: Tx, brand_id: str, user_id: str, username: str | None) -> None:
    """Set or remove the username."""
    await tx.execute(_SET_USERNAME, brand_id=brand_id, user_id=user_id, new=username)


async def set_permissions(tx: Tx, brand_id: str, user_id: str, permissions: Sequence[str]) -> None:
    """Replace the user's own permissions."""
    await tx.execute(_SET_PERMISSIONS, brand_id=brand_id, user_id=user_id, new=permissions)


async def set_disabled(tx: Tx, brand_id: str, user_id: str, is_disabled: bool) -> bool:
    """Disable the user and end all their sessions, or enable them; return whether that was a change."""
    statement = _DISABLE if is_disabled else _ENABLE
    return await tx.execute(statement, brand_id=brand_id, user_id=user_id) > 0


async def touch(tx: Tx, brand_id: str, user_id: str, now: datetime) -> bool:
    """Set ``updated_at``; False when there is no such user. Locks the row until the transaction ends."""
    return await tx.execute(_TOUCH, brand_id=brand_id, user_id=user_id, now=now) > 0


async def delete_users(tx: Tx, brand_id: str, user_ids: Sequence[str]) -> int:
    """Delete users of the brand, with their sessions; return how many."""
    return len(await tx.list(_DELETE_USERS, brand_id=brand_id, ids=list(user_ids)))


async def lock_active(tx: Tx, brand_id: str, user_id: str) -> bool:
    """Return whether the user exists and is not disabled; the row stays locked until the transaction ends."""
    row = await tx.find(_LOCK_USER, brand_id=brand_id, user_id=user_id)
    return row is not None and not row[0]


async def has_admin(tx: Tx, brand_id: str) -> bool:
    """Return whether an active user with a login address has ``admin``: directly, by a role or by default."""
    row = await tx.find(_FIND_POLICY, brand_id=brand_id)
    is_default = row is not None and ADMIN in parse_policy(row[0]).default_permissions
    return await tx.find(_FIND_ADMIN, brand_id=brand_id, is_default=is_default) is not None
