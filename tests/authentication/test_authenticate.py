"""Authenticate a request's credentials, and choose its brand."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from keystead.authentication.authenticate import (
    Credentials,
    authenticate,
    choose_brand,
    default_brand,
    expected_brand_id,
)
from keystead.brands import service as brands
from keystead.context import (
    RESERVED_BRAND_ID,
    ActiveBrand,
    Anonymous,
    ApiKeyPrincipal,
    BrandTokenPrincipal,
    Context,
    Server,
    UserPrincipal,
)
from keystead.crypto.secrets import Secret
from keystead.errors import AccessTokenRefused, BadUserInput, BrandMismatch, KeyRefused, OriginRefused
from keystead.users.model import User
from tests.attacks.watched import watch
from tests.make import (
    REQUEST,
    SETTINGS,
    make_access_token,
    make_api_key,
    make_brand,
    make_brand_token,
    make_context,
    make_session,
    make_user,
)


async def ask(
    server: Server,
    *,
    token: str | None = None,
    key: str | Secret | None = None,
    brand: str | Secret | None = None,
    origin: str | None = None,
) -> Context:
    shown = [value.reveal() if isinstance(value, Secret) else value for value in (key, brand)]
    return await authenticate(server, msgspec.structs.replace(REQUEST, origin=origin), Credentials(token, *shown))


def user_of(ctx: Context) -> UserPrincipal:
    assert isinstance(ctx.principal, UserPrincipal)
    return ctx.principal


@pytest.fixture
async def token(server: Server, brand: ActiveBrand, ann: User) -> str:
    return make_access_token(server, await make_session(server, brand, ann.id))


async def test_without_credentials_the_caller_is_anonymous_and_costs_no_query(
    server: Server, brand: ActiveBrand
) -> None:
    counted = watch(server)
    ctx = await ask(server)
    assert isinstance(ctx.principal, Anonymous)
    assert (ctx.brand, ctx.brand_is_default) == (None, True)
    assert (len(counted.asked), counted.transactions) == (0, 0)


async def test_the_default_brand_is_the_only_one_or_the_configured_one(server: Server, brand: ActiveBrand) -> None:
    assert await default_brand(await ask(server)) == brand
    await make_brand(server, "second")
    assert await default_brand(await ask(server)) is None
    server.settings = replace(SETTINGS, default_brand="second")
    named = await default_brand(await ask(server))
    assert named is not None
    assert named.name == "second"


async def test_a_user_is_authenticated_by_one_query(server: Server, brand: ActiveBrand, ann: User, token: str) -> None:
    counted = watch(server)
    ctx = await ask(server, token=token)
    assert (len(counted.asked), counted.transactions) == (1, 0)
    assert (ctx.brand, ctx.brand_is_default) == (brand, False)
    assert user_of(ctx).user_id == ann.id
    assert user_of(ctx).profile.email == "ann@example.com"


async def test_other_credentials_cost_one_query_too(server: Server, brand: ActiveBrand) -> None:
    key, brand_token = (await make_api_key(server, brand, "read"))[1], await make_brand_token(server, brand)
    await ask(server, key=key)
    counted = watch(server)
    ctx = await ask(server, key=key)
    assert (len(counted.asked), counted.transactions) == (1, 0)
    assert isinstance(ctx.principal, ApiKeyPrincipal)
    assert list(ctx.permissions) == ["read"]
    ctx = await ask(server, brand=brand_token)
    assert (len(counted.asked), counted.transactions) == (2, 0)
    assert isinstance(ctx.principal, BrandTokenPrincipal)
    assert list(ctx.permissions) == []
    assert (ctx.brand, ctx.brand_is_default) == (brand, False)


@pytest.mark.attack("A27")
@pytest.mark.parametrize("raw", ["", "Bearer ", "x", "a.b.c", "x" * 1_000_000, "ks_rt_" + "0" * 49, "ключ"])
async def test_a_malformed_credential_costs_no_query(server: Server, raw: str) -> None:
    counted = watch(server)
    with pytest.raises(AccessTokenRefused):
        await ask(server, token=raw)
    with pytest.raises(KeyRefused):
        await ask(server, key=raw)
    with pytest.raises(KeyRefused):
        await ask(server, brand=raw)
    assert (len(counted.asked), counted.transactions) == (0, 0)


@pytest.mark.attack("A73")
async def test_a_publishable_key_works_from_its_origins_only(server: Server, brand: ActiveBrand, token: str) -> None:
    bound = {"is_publishable": True, "allowed_origins": ("https://app.example.com",)}
    _, key = await make_api_key(server, brand, "read", **bound)
    for origin in ("https://app.example.com", "HTTPS://APP.example.com"):
        assert (await ask(server, key=key, origin=origin)).permissions.covers("read")
    elsewhere = ("https://evil.example.com", "http://app.example.com", "https://app.example.com.evil")
    for refused in (None, "", "null", *elsewhere):
        with pytest.raises(OriginRefused):
            await ask(server, key=key, origin=refused)
        with pytest.raises(OriginRefused):
            await ask(server, token=token, key=key, origin=refused)
    _, free = await make_api_key(server, brand, "read", is_publishable=True)
    assert (await ask(server, key=free)).permissions.covers("read")


async def test_admins_of_the_reserved_brand_are_operators(server: Server, brand: ActiveBrand) -> None:
    reserved = await brands.find_active_by_name(server.db.reads, RESERVED_BRAND_ID)
    assert reserved is not None
    admin = await make_user(server, reserved, permissions=("admin",))
    plain = await make_user(server, reserved, "bob@example.com", permissions=("write",))
    elsewhere = await make_user(server, brand, permissions=("admin",))
    for user, home, is_operator in ((admin, reserved, True), (plain, reserved, False), (elsewhere, brand, False)):
        token = make_access_token(server, await make_session(server, home, user.id))
        assert (await ask(server, token=token)).permissions.covers("operator") is is_operator
    token = make_access_token(server, await make_session(server, reserved, admin.id))
    _, key = await make_api_key(server, reserved, "read")
    assert not (await ask(server, token=token, key=key)).permissions.covers("operator")


async def test_repr_hides_credentials(token: str) -> None:
    assert token not in repr(Credentials(token, token, token))


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
