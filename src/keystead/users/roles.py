"""Define, list and delete roles. Changes take effect on each user's next request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from keystead.audit.service import describe, record
from keystead.context import Context
from keystead.db.interface import Tx
from keystead.entity_names.service import require_entities
from keystead.errors import BadUserInput, NotFound
from keystead.pagination import Page, PageRequest
from keystead.permissions import PermissionSet
from keystead.users import role_store
from keystead.users.grants import require_held, rights_guard
from keystead.users.model import Role

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,47}", re.ASCII)


async def list_roles(ctx: Context, brand_id: str, page: PageRequest, *, with_total: bool = False) -> Page[Role]:
    """One page of the brand's roles, by name."""
    rows = await role_store.list_roles(ctx.db.scans, brand_id, page.probe, page.offset)
    total = await role_store.count_roles(ctx.db.scans, brand_id) if with_total else None
    return Page.cut(rows, page, total)


async def define_role(ctx: Context, brand_id: str, name: str, permissions: Sequence[str]) -> Role:
    """Create the role, or replace the permissions of the one of that name.

    :raises BadUserInput: for an invalid name or permission, or one that names no entity; names the field.
    :raises Forbidden: for a permission that the caller does not hold.
    """
    if not _NAME.fullmatch(name):
        raise BadUserInput(
            "A role's name starts with a letter and has up to 48 letters, digits, '_' and '-'.", field="name"
        )
    role = Role(name, PermissionSet.of(permissions))
    require_held(ctx.permissions, role.permissions, brand_id)
    details = {"role": name, "permissions": list(role.permissions)}
    event = describe(ctx, "role.defined", brand_id=brand_id, details=details)

    async def define(tx: Tx) -> None:
        async with rights_guard(tx, brand_id, ctx.principal):
            await require_entities(tx, brand_id, role.permissions)
            await role_store.save_role(tx, brand_id, role, ctx.now())
            await record(tx, event)

    await ctx.db.run(define)
    return role


async def delete_roles(ctx: Context, brand_id: str, names: Sequence[str]) -> None:
    """Delete all of ``names`` and revoke them from their users.

    :raises NotFound: when one of them is no role of the brand; then none is deleted.
    """
    wanted = sorted(set(names))

    async def delete(tx: Tx) -> None:
        async with rights_guard(tx, brand_id, ctx.principal):
            if await role_store.delete_roles(tx, brand_id, wanted) < len(wanted):
                raise NotFound("There is no such role.")
            for name in wanted:
                await record(tx, describe(ctx, "role.deleted", brand_id=brand_id, details={"role": name}))

    await ctx.db.run(delete)
