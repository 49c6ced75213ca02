"""Who may give what, and who must stay: nobody grants what they lack, and an operator is left over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from keystead.context import RESERVED_BRAND_ID, Principal, System
from keystead.db.engine import Tx
from keystead.errors import BadUserInput, Conflict, Forbidden
from keystead.permissions import ADMIN, OPERATOR, PermissionSet
from keystead.users import store
from keystead.users.roles import store as role_store


def require_held(held: PermissionSet, granted: PermissionSet, brand_id: str) -> None:
    """That who holds ``held`` may give ``granted`` to a user of the brand.

    ``admin`` of the operators' brand makes an operator, so an API key of that brand, which is none, cannot give it.

    :raises Forbidden: when ``held`` does not cover all of ``granted``; names what is missing.
    """
    for name in granted:
        needed = OPERATOR if name == ADMIN and brand_id == RESERVED_BRAND_ID else name
        if not held.covers(needed):
            raise Forbidden(permission=needed)


async def require_roles(tx: Tx, brand_id: str, names: Sequence[str], held: PermissionSet) -> None:
    """That all of ``names`` are roles of the brand, and that who holds ``held`` may give them.

    :raises BadUserInput: for an unknown role; field ``roles``.
    :raises Forbidden: for a role that allows more than ``held``.
    """
    if not names:
        return
    found = await role_store.find_roles(tx, brand_id, names)
    for name in names:
        if all(role.name != name for role in found):
            raise BadUserInput(f"There is no role '{name[:80]}'.", field="roles")
    for role in found:
        require_held(held, role.permissions, brand_id)


@asynccontextmanager
async def an_operator_stays(tx: Tx, brand_id: str, actor: Principal) -> AsyncIterator[None]:
    """Refuses a change that would leave the installation without operator. The command line may: it can make one.

    :raises Conflict: at the end of the block, in the transaction, so that the change is undone.
    """
    if brand_id != RESERVED_BRAND_ID or isinstance(actor, System):
        yield
        return
    # Two operators who delete each other at once would each see the other one stay.
    await store.lock_active_users(tx, brand_id)
    had_operator = await _has_operator(tx, brand_id)
    yield
    if had_operator and not await _has_operator(tx, brand_id):
        raise Conflict("This is the last operator: make another one first.")


async def _has_operator(tx: Tx, brand_id: str) -> bool:
    return any(held.covers(ADMIN) for held in await store.list_active_permissions(tx, brand_id))
