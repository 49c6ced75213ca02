"""Which brand an operation is about: contract §1, "Which brand"."""

from __future__ import annotations

from keystead.brands import service as brands
from keystead.context import ActiveBrand, Context
from keystead.errors import BadUserInput, BrandMismatch


async def choose(ctx: Context, argument: str | None, *, field: str = "brand") -> ActiveBrand:
    """The brand that the credential names, else the argument (a name or an id), else the default one.

    :raises BrandMismatch: when the argument names another brand than the credential, known or not.
    :raises BadUserInput: when none is named, field ``brand`` whatever the argument is called; when there is no brand of
        the name given, ``field``.
    """
    brand = ctx.brand
    if argument is None:
        brand = brand or await default_brand(ctx)
        if brand is None:
            raise BadUserInput(f"Name the brand: send a brand header or '{field}'.", field="brand")
        return brand
    if brand is not None and argument in (brand.name, brand.id):
        return brand
    if brand is not None and not ctx.brand_is_default:
        raise BrandMismatch
    found = await brands.find_active_by_name(ctx.db.reads, argument)
    if found is None:
        raise BadUserInput("There is no such brand.", field=field)
    return found


async def default_brand(ctx: Context) -> ActiveBrand | None:
    """The brand of a request whose credentials name none: the configured one, else the only one there is, else none."""
    return await brands.default_brand(ctx.db.reads, ctx.server.settings.default_brand)


def expected_brand_id(ctx: Context) -> str | None:
    """The brand that an operation which carries a token must find in it: that of the credential, if there is one."""
    return None if ctx.brand is None or ctx.brand_is_default else ctx.brand.id
