"""``keystead api-key``: credentials of applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from keystead.cli.options import AnyBrandName, AsJson, BrandName
from keystead.cli.output import print_document, print_lines, print_list
from keystead.cli.work import brand_of, each, get_brand, run

if TYPE_CHECKING:
    from keystead.api_keys.model import ApiKey
    from keystead.context import Context

group = typer.Typer(help="API keys of a brand.", no_args_is_help=True)


@group.command("create")
def create(
    brand: BrandName,
    name: Annotated[str, typer.Option("--name", help="What the key is for.")],
    permission: Annotated[list[str], typer.Option("--permission", help="Grant a permission. Repeatable.")],
    publishable: Annotated[
        bool, typer.Option("--publishable", help="A key for public web pages: read permissions only.")
    ] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", help="Restrict a publishable key to an origin. Repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key."""
    asked = {"name": name, "permissions": permission, "publishable": publishable, "allowed_origins": origin or []}

    async def work(ctx: Context) -> tuple[ApiKey, str]:
        from keystead.api_keys import service as api_keys

        found = await get_brand(ctx, brand)
        key, secret = await api_keys.create_key(ctx, found.id, api_keys.parse_new_key(asked))
        return key, secret.reveal()

    key, token = run(work)
    if as_json:
        print_document({"id": key.id, "name": key.name, "token": token})
    else:
        print_lines(f"API key {key.name} ({key.id})", f"Secret, shown only once: {token}")


@group.command("list")
def list_(brand: BrandName, as_json: AsJson = False) -> None:
    """List the API keys of a brand, without their secrets."""

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from keystead.api_keys import service as api_keys

        found = await get_brand(ctx, brand)
        keys = each(lambda page: api_keys.list_keys(ctx, found.id, page, with_total=False))
        return [_described(key) async for key in keys]

    columns = ("id", "name", "hint", "permissions", "publishable", "created_at", "expires_at", "last_used_at")
    print_list(run(work), columns, as_json=as_json, empty="No API keys in this brand.")


@group.command("delete")
def delete(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    brand: AnyBrandName = None,
    as_json: AsJson = False,
) -> None:
    """Delete an API key. It is rejected from the next request."""

    async def work(ctx: Context) -> str:
        from keystead.api_keys import service as api_keys

        found = await brand_of(ctx, brand, "API key", lambda brand_id: api_keys.find_key(ctx, brand_id, key_id))
        await api_keys.delete_keys(ctx, found.id, [key_id])
        return found.name

    where = run(work)
    if as_json:
        print_document({"success": True, "id": key_id, "brand": where})
    else:
        print_lines(f"API key {key_id} of {where} is deleted.")


def _described(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "permissions": list(key.permissions),
        "publishable": key.is_publishable,
        "allowed_origins": key.allowed_origins,
        "hint": key.hint,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }
