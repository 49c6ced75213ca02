"""Create, read, update, list and delete users: use cases of administrators, and one step for anonymous users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from msgspec import UNSET

from keystead.audit.service import describe, record
from keystead.context import ActiveBrand, Context
from keystead.crypto.passwords import Share
from keystead.db.interface import Tx
from keystead.entity_names.service import require_entities
from keystead.errors import Conflict, InternalError, NotFound
from keystead.ids import new_id
from keystead.pagination import Page, PageRequest
from keystead.permissions import PermissionSet
from keystead.users import email_addresses, email_change, passwords, role_store, store
from keystead.users.email_addresses import EmailAddress
from keystead.users.grants import check_not_creator, require_held, require_roles, rights_guard
from keystead.users.model import NewUser, User, UserChanges, UserRow, parse_username

Finish = Callable[[Tx, User], Awaitable[None]]
"""The last step of the transaction that creates a user."""


async def find_user(ctx: Context, brand_id: str, user_id: str) -> User | None:
    """The user of this id, or None when the brand has none."""
    return await store.find_user(ctx.db.reads, brand_id, user_id)


async def get_user(ctx: Context, brand_id: str, user_id: str) -> User:
    """The user of this id.

    :raises NotFound: when the brand has none.
    """
    user = await find_user(ctx, brand_id, user_id)
    if user is None:
        raise _unknown_user()
    return user


async def list_users(ctx: Context, brand_id: str, page: PageRequest, *, with_total: bool = False) -> Page[User]:
    """One page of the brand's users, oldest first."""
    rows = await store.list_users(ctx.db.scans, brand_id, page.probe, page.offset)
    total = await store.count_users(ctx.db.scans, brand_id) if with_total else None
    return Page.cut(rows, page, total)


async def has_admin(ctx: Context, brand_id: str) -> bool:
    """Return whether the brand has an active administrator who can log in."""
    return await store.has_admin(ctx.db.scans, brand_id)


async def create_user(ctx: Context, brand: ActiveBrand, new: NewUser, *, finish: Finish | None = None) -> User:
    """Create a user with an e-mail address.

    The address is a login immediately where the brand asks for no verification or the caller vouches for it. Else it is
    pending, and ``finish``, the last step of the same transaction, requests the mail that verifies it.

    :raises BadUserInput: for an invalid address, password, name, role or permission; names the field.
    :raises Forbidden: for a permission that the caller does not hold.
    :raises Conflict: when the address, or a look-alike, is a login of the brand; names ``email``.
    """
    address = email_addresses.parse(new.email)
    username = None if new.username is None else parse_username(new.username)
    permissions = PermissionSet.of(new.permissions)
    require_held(ctx.permissions, permissions, brand.id)
    password_hash = await _hash(ctx, brand, new.password, address)
    is_login = new.is_verified or not brand.features.email_verification
    row = _new_row(address, username, permissions, password_hash, ctx.now(), is_login, new.is_verified)
    roles = sorted(set(new.roles))
    details = {"verified": new.is_verified, "permissions": list(permissions), "roles": roles}
    event = describe(ctx, "user.created", brand_id=brand.id, subject_id=row.id, details=details)

    async def create(tx: Tx) -> User:
        await require_entities(tx, brand.id, permissions)
        await require_roles(tx, brand.id, roles, ctx.permissions)
        if await store.is_taken(tx, brand.id, address) or not await store.insert_user(tx, brand.id, row):
            raise Conflict("This e-mail address is taken.", field="email")
        await role_store.set_roles(tx, brand.id, row.id, roles)
        await record(tx, event)
        user = await _read_back(tx, brand.id, row.id)
        if finish is not None:
            await finish(tx, user)
        return user

    return await ctx.db.run(create)


async def update_user(
    ctx: Context,
    brand_id: str,
    user_id: str,
    changes: UserChanges,
    *,
    finish: Callable[[Tx], Awaitable[None]] | None = None,
) -> User:
    """Apply ``changes``. Permissions take effect on the user's next request; disabling ends all their sessions.

    ``finish`` is the last step of the same transaction.

    :raises BadUserInput: for an invalid name, role or permission; names the field.
    :raises Forbidden: for a permission, added or kept, that the caller does not hold; to a key that the user created.
    :raises NotFound: when the brand has no user of this id.
    :raises Conflict: when no administrator or operator would be left.
    """
    check_not_creator(ctx.principal, [user_id])
    wanted = _checked(changes)
    require_held(ctx.permissions, PermissionSet(wanted.permissions or ()), brand_id)
    lists = {"roles": wanted.roles, "permissions": wanted.permissions}
    details: dict[str, object] = {name: value for name, value in lists.items() if value is not None}
    if wanted.username is not UNSET:
        details["username"] = "changed"

    async def update(tx: Tx) -> User:
        async with rights_guard(tx, brand_id, ctx.principal):
            await require_entities(tx, brand_id, wanted.permissions or ())
            if not await store.touch(tx, brand_id, user_id, ctx.now()):
                raise _unknown_user()
            await require_roles(tx, brand_id, wanted.roles or (), ctx.permissions)
            if await _set(tx, brand_id, user_id, wanted):
                event = describe(ctx, "user.updated", brand_id=brand_id, subject_id=user_id, details=details)
                await record(tx, event)
            off = wanted.is_disabled
            if off is not None and await store.set_disabled(tx, brand_id, user_id, off):
                if off:
                    await email_change.cancel(tx, brand_id, user_id)
                event = describe(ctx, "user.disabled" if off else "user.enabled", brand_id=brand_id, subject_id=user_id)
                await record(tx, event)
        if finish is not None:
            await finish(tx)
        return await _read_back(tx, brand_id, user_id)

    return await ctx.db.run(update)


async def delete_users(
    ctx: Context, brand_id: str, user_ids: Sequence[str], *, finish: Callable[[Tx], Awaitable[None]] | None = None
) -> None:
    """Delete all of ``user_ids``, with their sessions; records that they created stay.

    ``finish`` is the last step of the same transaction.

    :raises NotFound: when one of them is no user of the brand; then none is deleted.
    :raises Forbidden: when the caller is an API key that one of them created.
    :raises Conflict: when no administrator or operator would be left.
    """
    check_not_creator(ctx.principal, user_ids)
    wanted = sorted(set(user_ids))

    async def delete(tx: Tx) -> None:
        async with rights_guard(tx, brand_id, ctx.principal):
            if await store.delete_users(tx, brand_id, wanted) < len(wanted):
                raise _unknown_user()
            for user_id in wanted:
                await record(tx, describe(ctx, "user.deleted", brand_id=brand_id, subject_id=user_id))
        if finish is not None:
            await finish(tx)

    await ctx.db.run(delete)


async def create_anonymous(tx: Tx, brand_id: str, now: datetime) -> str:
    """Create a user with neither address nor password; return the id."""
    row = UserRow(id=new_id(now), created_at=now, updated_at=now)
    await store.insert_user(tx, brand_id, row)
    return row.id


async def _hash(ctx: Context, brand: ActiveBrand, raw: str | None, address: EmailAddress) -> str | None:
    if raw is None:
        return None
    share = Share(brand.id, ctx.request.address_prefix)
    return await passwords.hash_new(ctx.server.passwords, brand, raw, address=address, share=share)


def _new_row(
    address: EmailAddress,
    username: str | None,
    permissions: PermissionSet,
    password_hash: str | None,
    now: datetime,
    is_login: bool,
    is_verified: bool,
) -> UserRow:
    return UserRow(
        id=new_id(now),
        created_at=now,
        updated_at=now,
        username=username,
        email=address.display if is_login else None,
        email_canonical=address.canonical if is_login else None,
        email_skeleton=address.skeleton if is_login else None,
        password_hash=password_hash if is_login else None,
        verified_at=now if is_verified else None,
        pending_email=None if is_login else address.display,
        pending_email_canonical=None if is_login else address.canonical,
        pending_email_skeleton=None if is_login else address.skeleton,
        pending_at=None if is_login else now,
        pending_password_hash=None if is_login else password_hash,
        permissions=tuple(permissions),
    )


def _checked(changes: UserChanges) -> UserChanges:
    """The changes validated, in the form that is stored."""
    username, roles, permissions = changes.username, changes.roles, changes.permissions
    return UserChanges(
        username=parse_username(username) if isinstance(username, str) else username,
        is_disabled=changes.is_disabled,
        roles=None if roles is None else tuple(sorted(set(roles))),
        permissions=None if permissions is None else tuple(PermissionSet.of(permissions)),
    )


async def _set(tx: Tx, brand_id: str, user_id: str, wanted: UserChanges) -> bool:
    """Write name, permissions and roles; False when none of them is to change."""
    if wanted.username is not UNSET:
        await store.set_username(tx, brand_id, user_id, wanted.username)
    if wanted.permissions is not None:
        await store.set_permissions(tx, brand_id, user_id, wanted.permissions)
    if wanted.roles is not None:
        await role_store.set_roles(tx, brand_id, user_id, wanted.roles)
    return wanted.username is not UNSET or wanted.permissions is not None or wanted.roles is not None


async def _read_back(tx: Tx, brand_id: str, user_id: str) -> User:
    """The user as this transaction leaves them; the row is locked, so it exists."""
    user = await store.find_user(tx, brand_id, user_id)
    if user is None:
        raise InternalError(cause="a user vanished inside the transaction that wrote the row")
    return user


def _unknown_user() -> NotFound:
    return NotFound("There is no such user.")
