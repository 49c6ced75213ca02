"""``keystead brand``: brands and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from keystead.cli.options import AsJson, FeatureChoices, PolicyChoices, parse_features, parse_policy
from keystead.cli.output import note, print_document, print_lines, print_list
from keystead.cli.work import each, get_brand, run

if TYPE_CHECKING:
    from keystead.brands.model import Brand
    from keystead.context import Context

group = typer.Typer(help="Brands: isolated sets of users, keys and records.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The brand, by name or id.")]


@group.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A letter, then letters, digits, '_' and '-'.")],
    preset: Annotated[str, typer.Option("--preset", help="pair, standing or both.")] = "both",
    feature: FeatureChoices = None,
    policy: PolicyChoices = None,
    as_json: AsJson = False,
) -> None:
    """Create a brand and its first brand token."""
    features, figures = parse_features(feature), parse_policy(policy)

    async def work(ctx: Context) -> tuple[Brand, str]:
        from keystead.brands import service as brands

        made = await brands.create_brand(ctx, name, preset, features, figures)
        _, token = await brands.issue_token(ctx, made.id)
        return made, token.reveal()

    made, token = run(work)
    if as_json:
        print_document({"id": made.id, "name": made.name, "token": token})
    else:
        print_lines(f"Brand {made.name} ({made.id})", f"Brand token, shown only once: {token}")


@group.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the brands, including the operators' brand."""

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from keystead.brands import service as brands

        return [_described(brand) async for brand in each(lambda page: brands.list_brands(ctx, page))]

    columns = ("id", "name", "preset", "is_disabled", "created_at")
    print_list(run(work), columns, as_json=as_json, empty="No brands.")


@group.command("token")
def token(
    name: Name,
    revoke_others: Annotated[bool, typer.Option("--revoke-others", help="Revoke the brand's other tokens.")] = False,
    as_json: AsJson = False,
) -> None:
    """Issue another brand token."""

    async def work(ctx: Context) -> tuple[str, str]:
        from keystead.brands import service as brands

        brand, secret = await brands.issue_token(ctx, (await get_brand(ctx, name)).id, revoke_others)
        return brand, secret.reveal()

    brand, secret = run(work)
    if as_json:
        print_document({"brand": brand, "token": secret})
    else:
        print_lines(f"Brand token of {brand}, shown only once: {secret}")


@group.command("update")
def update(
    name: Name,
    feature: FeatureChoices = None,
    policy: PolicyChoices = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="Base of the links in mails. 'none': the server's.")
    ] = None,
    redirect_url: Annotated[
        list[str] | None,
        typer.Option(
            "--redirect-url", metavar="URL", help="Allowed redirect of hosted pages. Repeatable; 'none' removes all."
        ),
    ] = None,
    disabled: Annotated[
        bool | None, typer.Option("--disabled/--enabled", help="Disable the brand, or enable it again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a brand's features, policy or URLs; disable or enable it."""
    changes: dict[str, Any] = {"features": parse_features(feature), "policy": parse_policy(policy)}
    changes = {part: values for part, values in changes.items() if values} | _addresses(base_url, redirect_url)
    if not changes and disabled is None:
        line = "--feature, --policy, --base-url, --redirect-url, --disabled or --enabled"
        raise typer.BadParameter(f"nothing to change. Use {line}")

    async def work(ctx: Context) -> Brand:
        from keystead.brands import service as brands

        brand = await get_brand(ctx, name)
        if changes:
            brand = await brands.update_brand(ctx, brand.id, changes)
        if disabled is not None:
            brand = await brands.set_disabled(ctx, brand.id, disabled)
        return brand

    brand = run(work)
    for option, urls in (("--base-url", [base_url]), ("--redirect-url", redirect_url or [])):
        for url in filter(_is_interceptable, urls):
            note(f"warning: {option} {url} is not https: tokens sent there can be intercepted")
    if as_json:
        print_document(_described(brand))
    else:
        print_lines(f"Brand {brand.name} is updated. Changes take effect on the next request.")


def _addresses(base_url: str | None, redirect_urls: list[str] | None) -> dict[str, Any]:
    """The requested changes of URLs; the redirect URLs replace all existing ones."""
    changes: dict[str, Any] = {}
    if base_url is not None:
        changes["base_url"] = None if base_url == "none" else base_url
    if redirect_urls is not None:
        changes["redirect_urls"] = [] if redirect_urls == ["none"] else redirect_urls
    return changes


def _is_interceptable(url: str | None) -> bool:
    """Whether requests to this URL leave the machine unencrypted."""
    parts = urlsplit(url or "")
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def _described(brand: Brand) -> dict[str, Any]:
    return {
        "id": brand.id,
        "name": brand.name,
        "preset": brand.preset,
        "features": brand.features,
        "policy": brand.policy,
        "base_url": brand.base_url,
        "redirect_urls": brand.redirect_urls,
        "is_disabled": brand.is_disabled,
        "created_at": brand.created_at,
    }
