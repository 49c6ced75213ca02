"""Signing in and out, refreshing, and who one is: both contracts. Contract §2, §3."""

from __future__ import annotations

from typing import Any

from keystead.authentication import login, logout, password_change, refresh, registration
from keystead.authentication.authenticate import choose_brand, signed_in_user
from keystead.authentication.refresh import TokenPair
from keystead.context import Context
from keystead.graphql.executor.selection import Selection
from keystead.graphql.resolvers import resolver
from keystead.graphql.resolvers.users import user_fields
from keystead.pagination import PageRequest, needs_total
from keystead.sessions import service as sessions
from keystead.sessions.model import SessionRow

Arguments = dict[str, Any]
_SUCCESS = {"data": {"success": True}}


@resolver("Query.me")
async def me(ctx: Context, _arguments: Arguments, selection: Selection) -> dict[str, Any]:
    """The caller, out of the row that authenticated the request."""
    caller = signed_in_user(ctx)
    profile = caller.profile
    shown: dict[str, Any] = {
        "id": caller.user_id,
        "email": profile.email,
        "username": profile.username,
        "verified": profile.is_verified,
        "is_anonymous": profile.is_anonymous,
        "created_at": profile.created_at,
        "brand": ctx.brand.name if ctx.brand else None,
    }
    if "permissions" in selection.names:
        shown["permissions"] = list(caller.permissions)
    if "current_user" in selection.names:
        shown["current_user"] = {"data": user_fields(caller.user_id, profile, is_disabled=False), "api_keys": None}
    return shown


@resolver("Query.login")
async def log_in_standing(ctx: Context, arguments: Arguments, _: Selection) -> str:
    """A standing session's refresh token."""
    brand = await choose_brand(ctx, arguments.get("brand"))
    return await login.log_in_standing(ctx, brand, arguments["email"], arguments["password"])


@resolver("Mutation.login")
async def log_in_pair(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """A pair of tokens."""
    given = arguments["input"]
    brand = await choose_brand(ctx, given.get("pylo_app_id"), field="pylo_app_id")
    return _pair(await login.log_in_pair(ctx, brand, given["email"], given["password"]))


@resolver("Mutation.refreshToken")
async def refresh_token(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """The next pair of tokens."""
    return _pair(await refresh.refresh_pair(ctx, arguments["input"]["refresh_token"]))


@resolver("Query.getAccessToken")
async def get_access_token(ctx: Context, arguments: Arguments, _: Selection) -> str:
    """An access token of a standing session."""
    return await refresh.get_access_token(ctx, arguments["refreshToken"], arguments.get("expiresIn"))


@resolver("Mutation.createMe")
async def create_me(ctx: Context, arguments: Arguments, _: Selection) -> str:
    """The refresh token of a new anonymous user."""
    return await registration.create_me(ctx, arguments.get("brand"))


@resolver("Mutation.logout")
async def log_out(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """End the caller's session, or that of the refresh token given."""
    token = arguments.get("refresh_token")
    if token is None:
        await logout.log_out(ctx)
    else:
        await logout.revoke_refresh_token(ctx, token)
    return _SUCCESS


@resolver("Query.sessionList")
async def session_list(ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
    """The caller's sessions."""
    caller = signed_in_user(ctx)
    request = PageRequest.parse(arguments.get("pagination"))
    page = await sessions.list_own(ctx, caller, request, with_total=needs_total(selection))
    rows = [_session(row, is_current=row.id == caller.session_id) for row in page.items]
    return {"data": rows, "pagination": page.pagination()}


@resolver("Mutation.revokeSession")
async def revoke_session(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Ends one of the caller's sessions."""
    await logout.revoke_session(ctx, arguments["id"])
    return _SUCCESS


@resolver("Mutation.invalidateRefreshToken")
async def invalidate_refresh_token(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Ends all of the caller's sessions."""
    await logout.log_out_everywhere(ctx, force=bool(arguments.get("force")))
    return True


@resolver("Mutation.changePassword")
async def change_password(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Sets the caller's password and ends their other sessions."""
    await password_change.change_password(ctx, arguments["newPassword"], arguments.get("oldPassword"))
    return True


def _pair(pair: TokenPair) -> dict[str, Any]:
    return {"data": {"auth_token": pair.auth_token, "refresh_token": pair.refresh_token}}


def _session(row: SessionRow, *, is_current: bool) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "created_at": row.created_at,
        "last_used_at": row.last_used_at,
        "ip_prefix": row.ip_prefix,
        "user_agent": row.user_agent,
        "is_current": is_current,
    }
