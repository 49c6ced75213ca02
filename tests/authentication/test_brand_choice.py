"""Which brand an operation is about: contract §1."""

from __future__ import annotations

import pytest

from keystead.authentication.authenticate import choose_brand, expected_brand_id
from keystead.brands import service as brands
from keystead.context import ActiveBrand, Anonymous, Server
from keystead.errors import BadUserInput, BrandMismatch
from tests.make import make_brand, make_context


async def test_the_credential_decides_and_the_argument_may_agree(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server, brand)
    for argument in (None, brand.name, brand.id):
        assert await choose_brand(ctx, argument) == brand
    assert expected_brand_id(ctx) == brand.id


@pytest.mark.attack("A77")
async def test_an_argument_for_another_brand_is_a_mismatch_whether_or_not_it_exists(
    server: Server, brand: ActiveBrand
) -> None:
    other = await make_brand(server, "other")
    for argument in (other.name, other.id, "unknown", ""):
        with pytest.raises(BrandMismatch):
            await choose_brand(make_context(server, brand), argument)


async def test_the_argument_overrides_the_default(server: Server, brand: ActiveBrand) -> None:
    other = await make_brand(server, "other")
    ctx = make_context(server, brand, Anonymous(), brand_is_default=True)
    assert await choose_brand(ctx, None) == brand
    assert await choose_brand(ctx, "other") == other
    assert expected_brand_id(ctx) is None


async def test_without_a_default_the_argument_suffices(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server, None, Anonymous(), brand_is_default=True)
    assert await choose_brand(ctx, brand.name) == brand
    assert await choose_brand(ctx, brand.id) == brand
    await brands.set_disabled(make_context(server), brand.name, True)
    for argument, field in ((None, "brand"), *((name, "pylo_app_id") for name in ("unknown", "", brand.name))):
        with pytest.raises(BadUserInput) as refused:
            await choose_brand(ctx, argument, field="pylo_app_id")
        assert refused.value.extensions["field"] == field
