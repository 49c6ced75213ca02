"""Check grants: a caller grants only permissions it holds, and every brand keeps an administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from keystead.brands.store import hold_brand
from keystead.context import RESERVED_BRAND_ID, Principal, System, UserPrincipal, key_creator
from keystead.db.interface import Tx
from keystead.errors import BadUserInput, Conflict, Forbidden
from keystead.permissions import ADMIN, OPERATOR, PermissionSet
from keystead.users import role_store, store

_LAST_ADMIN = "This is the last administrator of the brand: give another user 'admin' first."
_LAST_OPERATOR = "This is the last operator: make another one first."


def require_held(held: PermissionSet, granted: PermissionSet, brand_id: str) -> None:
    """Require that a caller who holds ``held`` may grant ``granted`` to a user of the brand.

    ``admin`` in the operators' brand makes an operator, so an API key of that brand, which is none, cannot grant it.

    :raises Forbidden: when ``held`` does not cover all of ``granted``; names what is missing.
    """
    for name in granted:
        needed = OPERATOR if name == ADMIN and brand_id == RESERVED_BRAND_ID else name
        if not held.covers(needed):
            raise Forbidden(permission=needed)


async def require_roles(tx: Tx, brand_id: str, names: Sequence[str], held: PermissionSet) -> None:
    """Require that all of ``names`` are roles of the brand, and that a caller who holds ``held`` may grant them.

    :raises BadUserInput: for an unknown role; field ``roles``.
    :raises Forbidden: for a role with a permission that ``held`` does not cover.
    """
    if not names:
        return
    found = await role_store.find_roles(tx, brand_id, names)
    for name in names:
        if all(role.name != name for role in found):
            raise BadUserInput(f"There is no role '{name[:80]}'.", field="roles")
    for role in found:
        require_held(held, role.permissions, brand_id)


def check_not_creator(actor: Principal, user_ids: Sequence[str]) -> None:
    """Reject a change of users by an API key that one of them created, also when a user is signed in beside the key.

    :raises Forbidden: a disabled creator could otherwise re-enable themselves with a key they kept.
    """
    if key_creator(actor) in user_ids:
        raise Forbidden("An API key cannot change the user who made it.")


@asynccontextmanager
async def rights_guard(tx: Tx, brand_id: str, actor: Principal) -> AsyncIterator[None]:
    """Check the state after a block of changes to users, roles or default permissions; an error rolls it back.

    The command line is exempt: it can always create another administrator.

    :raises Forbidden: when the creator of the actor's API key would hold more than before.
    :raises Conflict: when a user would remove the last administrator of their brand, or any caller the last operator.
    """
    if isinstance(actor, System):
        yield
        return
    is_guarded = isinstance(actor, UserPrincipal) or brand_id == RESERVED_BRAND_ID
    # Serialises changes: two administrators who demote each other concurrently would each see the other one stay.
    if is_guarded:
        await hold_brand(tx, brand_id)
        is_guarded = await _has_admin(tx, brand_id, actor)
    creator_id = key_creator(actor)
    before = await store.find_user(tx, brand_id, creator_id) if creator_id else None
    yield
    after = await store.find_user(tx, brand_id, before.id) if before else None
    if before and after and not after.profile.granted.is_subset(before.profile.granted):
        raise Forbidden("An API key cannot give more permissions to the user who made it.")
    if is_guarded and not await _has_admin(tx, brand_id, actor):
        raise Conflict(_LAST_OPERATOR if brand_id == RESERVED_BRAND_ID else _LAST_ADMIN)


async def _has_admin(tx: Tx, brand_id: str, actor: Principal) -> bool:
    """Return whether the brand has an administrator. Mostly the acting user is one: an indexed read, no search."""
    user = await store.find_user(tx, brand_id, actor.user_id) if isinstance(actor, UserPrincipal) else None
    is_one = user is not None and not user.is_disabled and user.profile.granted.covers(ADMIN)
    return is_one or await store.has_admin(tx, brand_id)
