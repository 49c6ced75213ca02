"""``keystead keys``: the signing keys of the installation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from keystead.cli.options import AsJson
from keystead.cli.output import print_document, print_lines, print_list
from keystead.cli.work import run

if TYPE_CHECKING:
    from datetime import datetime

    from keystead.context import Context
    from keystead.installation.model import KeyTimes

group = typer.Typer(help="The signing keys of the installation.", no_args_is_help=True)


@group.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the signing keys, the oldest first."""

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from keystead.installation import service as installation

        now = ctx.now()
        return [_described(key, now) for key in await installation.list_keys(ctx)]

    columns = ("kid", "state", "created_at", "activates_at", "retires_at", "revoked_at")
    print_list(run(work), columns, as_json=as_json, empty="No signing keys.")


@group.command("rotate")
def rotate(as_json: AsJson = False) -> None:
    """Create a signing key, which becomes active in ten minutes."""

    async def work(ctx: Context) -> dict[str, Any]:
        from keystead.installation import service as installation

        return _described(await installation.rotate(ctx), ctx.now())

    made = run(work)
    if as_json:
        print_document(made)
    else:
        print_lines(f"Signing key {made['kid']} becomes active at {made['activates_at']:%H:%M:%S} UTC.")


# A key's id may begin with a hyphen.
@group.command("revoke", context_settings={"ignore_unknown_options": True})
def revoke(
    kid: Annotated[str, typer.Argument(metavar="KID", help="The key's id, as 'keys list' shows it.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a signing key: access tokens that it signed are rejected within 5 seconds."""

    async def work(ctx: Context) -> None:
        from keystead.installation import service as installation

        await installation.revoke(ctx, kid)

    run(work)
    if as_json:
        print_document({"success": True, "kid": kid})
    else:
        print_lines(f"Signing key {kid} is revoked.")


def _described(key: KeyTimes, now: datetime) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "state": key.state(now),
        "created_at": key.created_at,
        "activates_at": key.activates_at,
        "retires_at": key.retires_at,
        "dropped_at": key.dropped_at,
        "revoked_at": key.revoked_at,
    }
