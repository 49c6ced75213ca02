"""Users and roles in GraphQL, with the aliases of the pair contract. Contract §2, §4."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from keystead.api_keys import creators
from keystead.authentication import registration
from keystead.context import Context, Profile
from keystead.graphql.executor.selection import Selection
from keystead.graphql.resolvers import refuse_filter, require_brand, resolver
from keystead.graphql.resolvers.api_keys import shown_key
from keystead.pagination import PageRequest, needs_total
from keystead.users import roles, service
from keystead.users.model import NewUser, Role, User, UserChanges

Arguments = dict[str, Any]


@resolver("Query.userList", "Query.pyloUserList")
async def user_list(ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
    """One page of the brand's users, oldest first."""
    refuse_filter(arguments)
    request = PageRequest.parse(arguments.get("pagination"))
    page = await service.list_users(ctx, require_brand(ctx).id, request, with_total=needs_total(selection))
    return {"data": [_shown_user(user) for user in page.items], "pagination": page.pagination()}


@resolver("Query.userById", "Query.pyloUserById")
async def user_by_id(ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any] | None:
    """The user of this id, or null."""
    user = await service.find_user(ctx, require_brand(ctx).id, arguments["id"])
    return None if user is None else await _answer(ctx, user, selection)


@resolver("Mutation.createUser")
async def create_user(ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
    """Create a user."""
    given = arguments["input"]
    new = NewUser(
        email=given["email"],
        password=given.get("password"),
        username=given.get("username"),
        is_verified=bool(given.get("verified")),
        roles=tuple(given.get("roles") or ()),
        permissions=tuple(given.get("permissions") or ()),
    )
    return await _answer(ctx, await registration.create_user(ctx, require_brand(ctx), new), selection)


@resolver("Mutation.updateUser")
async def update_user(ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
    """Change a user; returns the new state."""
    given = arguments["input"]
    lists = {name: tuple(given[name]) for name in ("roles", "permissions") if given.get(name) is not None}
    changes = UserChanges(username=given.get("username", UNSET), is_disabled=given.get("is_disabled"), **lists)
    updated = await creators.update_user(
        ctx, require_brand(ctx).id, given["id"], changes, revoke_api_keys=bool(given.get("revoke_api_keys"))
    )
    return await _answer(ctx, updated, selection)


@resolver("Mutation.deleteUser")
async def delete_user(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Delete users, all or none."""
    is_revoking = bool(arguments.get("revoke_api_keys"))
    await creators.delete_users(ctx, require_brand(ctx).id, arguments["ids"], revoke_api_keys=is_revoking)
    return {"data": {"success": True}}


@resolver("Query.roleList")
async def role_list(ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
    """One page of the brand's roles, by name."""
    request = PageRequest.parse(arguments.get("pagination"))
    page = await roles.list_roles(ctx, require_brand(ctx).id, request, with_total=needs_total(selection))
    return {"data": [_shown_role(role) for role in page.items], "pagination": page.pagination()}


@resolver("Mutation.defineRole")
async def define_role(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Create or change a role."""
    given = arguments["input"]
    role = await roles.define_role(ctx, require_brand(ctx).id, given["name"], given["permissions"])
    return {"data": _shown_role(role)}


@resolver("Mutation.deleteRole")
async def delete_role(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Delete roles, all or none."""
    await roles.delete_roles(ctx, require_brand(ctx).id, arguments["names"])
    return {"data": {"success": True}}


def user_fields(user_id: str, profile: Profile, *, is_disabled: bool = False) -> dict[str, Any]:
    """Return the GraphQL type ``User``; also for ``me { current_user { data } }``."""
    return {
        "id": user_id,
        "email": profile.email,
        "username": profile.username,
        "verified": profile.is_verified,
        "is_anonymous": profile.is_anonymous,
        "is_disabled": is_disabled,
        "roles": list(profile.roles),
        "permissions": list(profile.granted),
        "created_at": profile.created_at,
        "updated_at": profile.updated_at,
        "last_login_at": profile.last_login_at,
    }


async def _answer(ctx: Context, user: User, selection: Selection) -> dict[str, Any]:
    """Return the GraphQL type ``UserResponse``; API keys are read only if selected."""
    answer: dict[str, Any] = {"data": _shown_user(user)}
    if selection.wants("api_keys"):
        keys = await creators.list_live_keys(ctx, require_brand(ctx).id, user.id)
        answer["api_keys"] = [shown_key(key) for key in keys]
    return answer


def _shown_user(user: User) -> dict[str, Any]:
    return user_fields(user.id, user.profile, is_disabled=user.is_disabled)


def _shown_role(role: Role) -> dict[str, Any]:
    return {"name": role.name, "permissions": list(role.permissions)}
