"""API keys in GraphQL, with the aliases of the pair contract. Contract §4."""

from __future__ import annotations

from typing import Any

from keystead.api_keys import service
from keystead.api_keys.model import ApiKey
from keystead.context import Context
from keystead.crypto.secrets import Secret
from keystead.graphql.executor.selection import Selection
from keystead.graphql.resolvers import refuse_filter, require_brand, resolver
from keystead.pagination import PageRequest, needs_total

Arguments = dict[str, Any]


@resolver("Query.apiKeyList")
@resolver("Query.pyloApiKeyList")
async def api_key_list(ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
    """One page of the brand's API keys."""
    refuse_filter(arguments)
    request = PageRequest.parse(arguments.get("pagination"))
    page = await service.list_keys(ctx, require_brand(ctx).id, request, with_total=needs_total(selection))
    return {"data": [shown_key(key) for key in page.items], "pagination": page.pagination()}


@resolver("Query.apiKeyById")
@resolver("Query.pyloApiKeyById")
async def api_key_by_id(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any] | None:
    """The API key of this id, or null."""
    key = await service.find_key(ctx, require_brand(ctx).id, arguments["id"])
    return None if key is None else {"data": shown_key(key)}


@resolver("Mutation.createApiKey")
@resolver("Mutation.createPyloApiKey")
async def create_api_key(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Create an API key; the answer shows its token."""
    key, secret = await service.create_key(ctx, require_brand(ctx).id, service.parse_new_key(arguments["input"]))
    return {"data": shown_key(key, secret)}


@resolver("Mutation.updateApiKey")
@resolver("Mutation.updatePyloApiKey")
async def update_api_key(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Change an API key; returns the new state."""
    changes = dict(arguments["input"])
    return {"data": shown_key(await service.update_key(ctx, require_brand(ctx).id, changes.pop("id"), changes))}


@resolver("Mutation.rotateApiKey")
async def rotate_api_key(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Issue a new token for an API key."""
    overlap = arguments.get("overlap_seconds") or 0
    key, secret = await service.rotate_key(ctx, require_brand(ctx).id, arguments["id"], overlap)
    return {"data": shown_key(key, secret)}


@resolver("Mutation.deleteApiKey")
@resolver("Mutation.deletePyloApiKey")
async def delete_api_key(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Delete API keys; they are rejected immediately."""
    await service.delete_keys(ctx, require_brand(ctx).id, arguments["ids"])
    return {"data": {"success": True}}


def shown_key(key: ApiKey, secret: Secret | None = None) -> dict[str, Any]:
    """Return the GraphQL type ``ApiKey``."""
    return {
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "permissions": list(key.permissions),
        "publishable": key.is_publishable,
        "allowed_origins": list(key.allowed_origins),
        "hint": key.hint,
        "token": None if secret is None else secret.reveal(),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }
