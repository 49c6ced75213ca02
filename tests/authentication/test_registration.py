"""createMe: an anonymous user of the standing contract."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.authentication.authenticate import Credentials, authenticate
from keystead.authentication.refresh import get_access_token
from keystead.authentication.registration import create_me
from keystead.brands import service as brands
from keystead.context import ActiveBrand, Anonymous, BrandTokenPrincipal, Context, Server, UserPrincipal
from keystead.errors import BrandMismatch, Forbidden, KeyRefused, Unauthenticated
from keystead.pagination import PageRequest
from keystead.users import service as users
from tests.authentication.observed import events
from tests.clocks import ManualClock
from tests.make import REQUEST, make_brand, make_context


def app(server: Server, brand: ActiveBrand) -> Context:
    return make_context(server, brand, BrandTokenPrincipal(brand.id, "token-id"))


async def test_a_new_user_without_address_or_password(server: Server, brand: ActiveBrand, clock: ManualClock) -> None:
    raw = await create_me(app(server, brand), brand.name)
    clock.advance(days=4000)
    token = await get_access_token(make_context(server), raw, None)
    me = (await authenticate(server, REQUEST, Credentials(token))).principal
    assert isinstance(me, UserPrincipal)
    assert (me.profile.email, me.profile.is_anonymous, list(me.permissions)) == (None, True, [])
    (event,) = await events(server, brand, "user.signed_up")
    assert (event.subject_id, event.actor_kind) == (me.user_id, "brand_token")


async def test_each_call_makes_another_user(server: Server, brand: ActiveBrand) -> None:
    ctx = app(server, brand)
    assert await create_me(ctx, None) != await create_me(ctx, brand.id)
    assert len({event.subject_id for event in await events(server, brand, "user.signed_up")}) == 2


async def test_a_brand_argument_without_a_credential_does_not_suffice(server: Server, brand: ActiveBrand) -> None:
    with pytest.raises(Unauthenticated):
        await create_me(make_context(server, brand, Anonymous(), brand_is_default=True), brand.name)


async def test_nor_does_a_credential_of_another_brand(server: Server, brand: ActiveBrand) -> None:
    other = await make_brand(server, "other")
    with pytest.raises(BrandMismatch):
        await create_me(app(server, brand), other.name)


@pytest.mark.parametrize(
    ("choices", "feature"),
    [
        ({"preset": "pair"}, "standing"),
        ({"preset": "pair", "features": {"anonymous_users": True}}, "standing"),
        ({"features": {"anonymous_users": False}}, "anonymous_users"),
    ],
)
async def test_a_brand_without_anonymous_users_or_standing_sessions(
    server: Server, choices: dict[str, Any], feature: str
) -> None:
    brand = await make_brand(server, "strict", **choices)
    with pytest.raises(Forbidden) as refused:
        await create_me(app(server, brand), None)
    assert refused.value.extensions["feature"] == feature
    assert await events(server, brand, "user.signed_up") == []


async def test_no_user_is_left_when_the_brand_is_disabled_concurrently(server: Server, brand: ActiveBrand) -> None:
    ctx = app(server, brand)
    await brands.set_disabled(make_context(server), brand.name, True)
    with pytest.raises(KeyRefused):
        await create_me(ctx, None)
    page = await users.list_users(make_context(server), brand.id, PageRequest(), with_total=True)
    assert (page.total, await events(server, brand, "user.signed_up")) == (0, [])
