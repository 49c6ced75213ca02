"""Brands as their apps meet them: which one a request is about, and what it has switched on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Database
from keystead.users.model import User
from tests.api import Answer, Api, make_api
from tests.clocks import ManualClock
from tests.make import PASSWORD, SETTINGS, make_brand, make_brand_token, make_entity, make_server, make_user
from tests.use_cases.people import ADMIN, ANN, LOGIN, create_me, log_in, try_get_access_token, try_refresh

STANDING = 'query ($brand: String) { login(email: "ann@example.com", brand: $brand, password: "rainbow123") }'
CREATE_ME = "mutation { createMe }"
UPDATE_BRAND = "mutation ($input: UpdateBrandInput!) { updateBrand(input: $input) { data { features policy } } }"


async def pair(api: Api, app: str | None = None, *, brand: str | None = None) -> Answer:
    """Ann's login by the pair contract."""
    return await api.send(LOGIN, {"input": {"email": ANN, "password": PASSWORD, "pylo_app_id": app}}, brand=brand)


# --------------------------------------------------------------------------------------------- which brand it is


async def test_the_only_brand_need_not_be_named(api: Api, ann: User) -> None:
    assert (await pair(api)).data
    assert (await api.send(STANDING)).data


async def test_of_two_brands_one_has_to_be_named(
    api: Api, ann: User, brand: ActiveBrand, other_brand: ActiveBrand
) -> None:
    unnamed = await pair(api)
    assert (unnamed.status, unnamed.code, unnamed.extensions["field"]) == (200, "BAD_USER_INPUT", "brand")
    assert (await api.send(STANDING)).extensions["field"] == "brand"
    for name in ("rainbowMakers", brand.id):
        assert (await pair(api, name)).data
        assert (await api.send(STANDING, {"brand": name})).data
    assert (await pair(api, "greyMakers")).code == "INVALID_CREDENTIALS"
    assert (await pair(api, "noSuchMakers")).code == "BAD_USER_INPUT"


async def test_a_credential_decides_and_an_argument_may_not_differ(
    api: Api, ann: User, brand_token: str, other_brand: ActiveBrand
) -> None:
    assert (await pair(api, brand=brand_token)).data
    assert (await pair(api, "rainbowMakers", brand=brand_token)).data
    assert (await pair(api, "greyMakers", brand=brand_token)).code == "BRAND_MISMATCH"
    assert (await api.send(STANDING, {"brand": "greyMakers"}, brand=brand_token)).code == "BRAND_MISMATCH"


async def test_the_operator_may_choose_the_default_brand(
    server: Server, db: Database, clock: ManualClock, ann: User, other_brand: ActiveBrand
) -> None:
    settings = replace(SETTINGS, default_brand="rainbowMakers")
    api = await make_api(await make_server(db, clock, settings=settings))
    assert (await pair(api)).data
    assert (await pair(api, "greyMakers")).code == "INVALID_CREDENTIALS", "an argument may still name another"
    api = await make_api(await make_server(db, clock, settings=replace(SETTINGS, default_brand="goneMakers")))
    assert (await pair(api)).code == "BAD_USER_INPUT", "no other brand steps in for a default that is not there"


async def test_one_address_is_two_users_in_two_brands(
    api: Api, server: Server, ann: User, other_brand: ActiveBrand
) -> None:
    grey = await make_user(server, other_brand, ANN, password="grey on grey")
    assert grey.id != ann.id
    assert (await pair(api, "rainbowMakers")).data
    assert (await pair(api, "greyMakers")).code == "INVALID_CREDENTIALS"


async def test_a_refresh_token_belongs_to_its_brand(
    api: Api, server: Server, ann: User, brand_token: str, other_brand: ActiveBrand
) -> None:
    tokens = await log_in(api, brand=brand_token)
    grey_token = (await make_brand_token(server, other_brand)).reveal()
    exchange = (
        f'mutation {{ refreshToken(input: {{ refresh_token: "{tokens.refresh}" }}) {{ data {{ auth_token }} }} }}'
    )
    assert (await api.send(exchange, brand=grey_token)).code == "REFRESH_TOKEN_INVALID"
    assert (await try_refresh(api, tokens.refresh)).data, "and is none the worse for having been shown elsewhere"


async def test_credentials_of_two_brands_do_not_mix(
    api: Api, server: Server, ann: User, brand_token: str, other_brand: ActiveBrand
) -> None:
    tokens = await log_in(api, brand=brand_token)
    grey_token = (await make_brand_token(server, other_brand)).reveal()
    refused = await api.send("{ me { id } }", token=tokens.auth, brand=grey_token)
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")


# ------------------------------------------------------------------------------------------ presets and features


@pytest.mark.parametrize(
    ("preset", "has_pair", "has_standing"), [("pair", True, False), ("standing", False, True), ("both", True, True)]
)
async def test_a_preset_selects_the_session_kinds(
    api: Api, server: Server, preset: str, has_pair: bool, has_standing: bool
) -> None:
    brand = await make_brand(server, preset=preset)
    token = (await make_brand_token(server, brand)).reveal()
    await make_user(server, brand, ANN, password=PASSWORD)
    _is(await pair(api), has_pair, "pair")
    _is(await api.send(STANDING), has_standing, "standing")
    _is(await api.send(CREATE_ME, brand=token), has_standing, "standing")


def _is(answer: Answer, allowed: bool, feature: str) -> None:
    if allowed:
        assert answer.data
    else:
        assert (answer.status, answer.code, answer.extensions["feature"]) == (200, "FORBIDDEN", feature)


async def test_a_feature_change_takes_effect_on_the_next_request(
    api: Api, admin: User, ann: User, brand_token: str
) -> None:
    auth = (await log_in(api, ADMIN)).auth
    assert (await api.send(CREATE_ME, brand=brand_token)).data

    async def switch(**features: bool) -> None:
        changed = await api.send(UPDATE_BRAND, {"input": {"features": features}}, token=auth)
        assert features.items() <= changed.data["updateBrand"]["data"]["features"].items()

    await switch(anonymous_users=False, password_login=False)
    _is(await api.send(CREATE_ME, brand=brand_token), False, "anonymous_users")
    _is(await pair(api), False, "password_login")
    _is(await api.send(STANDING), False, "password_login")
    await switch(anonymous_users=True, password_login=True)
    assert (await api.send(CREATE_ME, brand=brand_token)).data
    assert (await pair(api)).data


async def test_a_policy_change_takes_effect_on_the_next_request(
    api: Api, admin: User, brand_token: str, clock: ManualClock
) -> None:
    auth, kept = (await log_in(api, ADMIN)).auth, await create_me(api, brand_token)
    policy = {"access_ttl": 600, "default_permissions": ["read"]}
    assert (await api.send(UPDATE_BRAND, {"input": {"policy": policy}}, token=auth)).data
    assert (await try_get_access_token(api, kept, 601)).extensions["field"] == "expiresIn"
    token = (await try_get_access_token(api, kept, 600)).data["getAccessToken"]
    assert (await api.send("{ me { permissions } }", token=token)).data == {"me": {"permissions": ["read"]}}


async def test_an_unknown_feature_is_named(api: Api, admin: User, ann: User) -> None:
    auth = (await log_in(api, ADMIN)).auth
    typo = {"input": {"features": {"anonymous_user": False}}}
    refused = await api.send(UPDATE_BRAND, typo, token=auth)
    assert (refused.code, refused.extensions["field"]) == ("BAD_USER_INPUT", "features.anonymous_user")
    assert (await api.send(UPDATE_BRAND, typo, token=(await log_in(api)).auth)).code == "FORBIDDEN"


async def test_without_a_credential_documents_are_validated_by_the_default_brand(server: Server) -> None:
    """It knows the brand's whole schema, and answers that one has to sign in: not that the field is unknown."""
    await make_entity(server, await make_brand(server))
    api = await make_api(server)
    answer = await api.send("{ customerList { data { id } } }")
    assert (answer.status, answer.code) == (200, "UNAUTHENTICATED")
    answer = await api.send("{ strangerList { data { id } } }")
    assert (answer.status, answer.code) == (400, "GRAPHQL_VALIDATION_FAILED")
