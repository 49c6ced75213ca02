"""The health query, and brands: their own for administrators, all of them for operators."""

from __future__ import annotations

from typing import Any

import msgspec

from keystead.brands import service
from keystead.brands.model import Brand
from keystead.context import Context
from keystead.graphql.executor.selection import Selection
from keystead.graphql.resolvers import require_brand, resolver
from keystead.pagination import PageRequest, needs_total
from keystead.users.grants import rights_guard


@resolver("Query.health")
async def health(_ctx: Context, _arguments: dict[str, Any], _selection: Selection) -> dict[str, Any]:
    """Report that the server is up. ``GET /ready`` also checks the database."""
    return {"data": {"up": True}}


@resolver("Query.brand")
async def brand(ctx: Context, arguments: dict[str, Any], selection: Selection) -> dict[str, Any]:
    """The brand of the request."""
    return {"data": _shown(await service.get_brand(ctx, require_brand(ctx).id))}


@resolver("Query.brandList")
async def brand_list(ctx: Context, arguments: dict[str, Any], selection: Selection) -> dict[str, Any]:
    """One page of all brands."""
    request = PageRequest.parse(arguments.get("pagination"))
    page = await service.list_brands(ctx, request, with_total=needs_total(selection))
    return {"data": [_shown(one) for one in page.items], "pagination": page.pagination()}


@resolver("Mutation.createBrand")
async def create_brand(ctx: Context, arguments: dict[str, Any], selection: Selection) -> dict[str, Any]:
    """Create a brand, without a token."""
    given = arguments["input"]
    made = await service.create_brand(
        ctx, given["name"], given.get("preset"), given.get("features"), given.get("policy")
    )
    return {"data": _shown(made)}


@resolver("Mutation.updateBrand")
async def update_brand(ctx: Context, arguments: dict[str, Any], selection: Selection) -> dict[str, Any]:
    """Change the named settings of the request's brand."""
    brand_id = require_brand(ctx).id
    changed = await service.update_brand(
        ctx, brand_id, arguments["input"], guard=lambda tx: rights_guard(tx, brand_id, ctx.principal)
    )
    return {"data": _shown(changed)}


@resolver("Mutation.issueBrandToken")
async def issue_brand_token(ctx: Context, arguments: dict[str, Any], selection: Selection) -> dict[str, Any]:
    """Issue a brand token; only this answer shows it."""
    name, secret = await service.issue_token(ctx, arguments["name"], bool(arguments.get("revoke_others")))
    return {"data": {"brand": name, "token": secret.reveal()}}


def _shown(one: Brand) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "preset": one.preset.value,
        "features": msgspec.to_builtins(one.features),
        "policy": msgspec.to_builtins(one.policy) | {"default_permissions": list(one.policy.default_permissions)},
        "is_disabled": one.is_disabled,
        "created_at": one.created_at,
    }
