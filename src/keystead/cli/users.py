"""``keystead user``: the users of a brand. Operators are users of the brand ``keystead``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keystead.cli.options import AnyBrandName, AsJson, BrandName
from keystead.cli.output import note, print_document, print_lines, print_list
from keystead.cli.work import brand_of, each, get_brand, run

if TYPE_CHECKING:
    from keystead.api_keys.model import ApiKey
    from keystead.brands.model import Brand
    from keystead.context import Context
    from keystead.settings import Settings
    from keystead.users.model import User

group = typer.Typer(help="Users of a brand.", no_args_is_help=True)


@group.command("create")
def create(
    brand: BrandName,
    email: Annotated[str, typer.Option("--email", help="The address to log in with.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from the first line of stdin.")
    ] = False,
    permission: Annotated[
        list[str] | None, typer.Option("--permission", help="Grant a permission. Repeatable.")
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Mark the address as verified: no verification mail is needed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a user. Without --password-stdin the user logs in, or sets a password, by a mailed link."""
    password = _password_from_stdin() if password_stdin else None

    async def work(ctx: Context) -> tuple[User, Brand, Settings]:
        from keystead.authentication import registration
        from keystead.users.model import NewUser

        found = await get_brand(ctx, brand)
        new = NewUser(email, password, is_verified=verified, permissions=tuple(permission or ()))
        return await registration.create_user(ctx, found.active(), new), found, ctx.server.settings

    user, home, settings = run(work)
    if home.features.email_verification and not verified:
        note(f"note: {user.profile.email} must be verified by mail before login. To skip this: --verified")
        if home.base_url is None and not settings.is_base_url_chosen:
            note(f"note: links begin with {settings.base_url}: set KEYSTEAD_BASE_URL")
    if as_json:
        print_document({"id": user.id, "email": user.profile.email})
    else:
        print_lines(f"User {user.profile.email} ({user.id})")


@group.command("list")
def list_(brand: BrandName, as_json: AsJson = False) -> None:
    """List the users of a brand."""

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from keystead.users import service as users

        found = await get_brand(ctx, brand)
        return [_described(user) async for user in each(lambda page: users.list_users(ctx, found.id, page))]

    columns = ("id", "email", "verified", "is_disabled", "roles", "permissions", "created_at", "last_login_at")
    print_list(run(work), columns, as_json=as_json, empty="No users in this brand.")


@group.command("disable")
def disable(
    user_id: Annotated[str, typer.Argument(metavar="ID", help="The user's id.")],
    brand: AnyBrandName = None,
    revoke_api_keys: Annotated[
        bool, typer.Option("--revoke-api-keys", help="Also delete the API keys that the user created.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Disable a user. Sessions end on their next request."""

    async def work(ctx: Context) -> tuple[str, list[ApiKey], int, bool]:
        from keystead.api_keys import creators
        from keystead.permissions import ADMIN
        from keystead.users import service as users
        from keystead.users.model import UserChanges

        found = await brand_of(ctx, brand, "user", lambda brand_id: users.find_user(ctx, brand_id, user_id))
        changes = UserChanges(is_disabled=True)
        was_admin = (await users.get_user(ctx, found.id, user_id)).profile.granted.covers(ADMIN)
        keys = await creators.list_live_keys(ctx, found.id, user_id)
        total = await creators.count_live_keys(ctx, found.id, user_id)
        await creators.update_user(ctx, found.id, user_id, changes, revoke_api_keys=revoke_api_keys)
        return found.name, keys, total, was_admin and not await users.has_admin(ctx, found.id)

    where, keys, total, is_without_admin = run(work)
    more = total - len(keys)
    if is_without_admin:
        note(f"warning: {where} has no administrator left. Create one with: keystead user create --brand {where} ...")
    if keys and not revoke_api_keys:
        listed = ", ".join(key.id for key in keys) + (f" and {more} more" if more > 0 else "")
        note(f"note: API keys that the user created still work: {listed}. To delete them: --revoke-api-keys")
    if as_json:
        shown = [{"id": key.id, "name": key.name, "hint": key.hint} for key in keys]
        print_document(
            {
                "success": True,
                "id": user_id,
                "brand": where,
                "api_keys": shown,
                "api_keys_total": total,
                "api_keys_revoked": revoke_api_keys,
            }
        )
    else:
        print_lines(f"User {user_id} of {where} is disabled.", *(_revoked(key) for key in keys if revoke_api_keys))
        if revoke_api_keys and more > 0:
            print_lines(f"{more} more API keys are deleted.")


def _revoked(key: ApiKey) -> str:
    return f"API key {key.name} ({key.id}) is deleted."


def _password_from_stdin() -> str:
    """Read the first line of stdin, without its line end; spaces count.

    :raises typer.BadParameter: if it is empty or not UTF-8.
    """
    try:
        line = sys.stdin.buffer.readline().decode("utf-8")
    except UnicodeDecodeError:
        raise typer.BadParameter("the password on stdin is not UTF-8 text", param_hint="--password-stdin") from None
    password = line.removesuffix("\n").removesuffix("\r")
    if not password:
        raise typer.BadParameter("there is no password on stdin", param_hint="--password-stdin")
    return password


def _described(user: User) -> dict[str, Any]:
    profile = user.profile
    return {
        "id": user.id,
        "email": profile.email,
        "username": profile.username,
        "verified": profile.is_verified,
        "is_anonymous": profile.is_anonymous,
        "is_disabled": user.is_disabled,
        "roles": profile.roles,
        "permissions": list(profile.granted),
        "created_at": profile.created_at,
        "last_login_at": profile.last_login_at,
    }
