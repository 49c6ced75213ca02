"""Who runs the installation: a user of the reserved brand ``keystead`` with ``admin``."""

from __future__ import annotations

import pytest

from keystead.brands import service as brands
from keystead.context import RESERVED_BRAND, Server
from keystead.users.model import User
from tests.api import Answer, Api
from tests.make import PASSWORD, make_user
from tests.use_cases.people import ADMIN, LOGIN, Tokens, create_me

ROOT = "root@example.com"
BRANDS = "{ brandList { data { name preset is_disabled } pagination { total } } }"
CREATE = "mutation ($input: CreateBrandInput!) { createBrand(input: $input) { data { id name preset features } } }"
ISSUE = """mutation ($name: String!, $others: Boolean) {
    issueBrandToken(name: $name, revoke_others: $others) { data { brand token } }
}"""
OWN = "{ brand { data { name } } }"
FOR_OPERATORS = [
    (BRANDS, {}),
    (CREATE, {"input": {"name": "theirMakers"}}),
    (ISSUE, {"name": "rainbowMakers"}),
]


@pytest.fixture
async def operator(api: Api, server: Server) -> Tokens:
    """An operator, signed in."""
    reserved = await brands.find_active_by_name(server.db.reads, RESERVED_BRAND)
    assert reserved is not None
    await make_user(server, reserved, ROOT, password=PASSWORD, permissions=("admin",))
    return await sign_in(api, ROOT, RESERVED_BRAND)


async def sign_in(api: Api, email: str, brand: str) -> Tokens:
    """A pair session in the named brand."""
    answer = await api.send(LOGIN, {"input": {"email": email, "password": PASSWORD, "pylo_app_id": brand}})
    given = answer.data["login"]["data"]
    return Tokens(given["auth_token"], given["refresh_token"])


async def test_an_operator_opens_a_brand_and_hands_out_its_token(api: Api, operator: Tokens) -> None:
    new = {"name": "rainbowMakers", "preset": "standing", "features": {"email_verification": False}}
    made = (await api.send(CREATE, {"input": new}, token=operator.auth)).data["createBrand"]["data"]
    assert (made["name"], made["preset"], made["features"]["email_verification"]) == (
        "rainbowMakers",
        "standing",
        False,
    )
    issued = (await api.send(ISSUE, {"name": "rainbowMakers"}, token=operator.auth)).data["issueBrandToken"]["data"]
    assert issued["brand"] == "rainbowMakers"
    assert await create_me(api, issued["token"])
    listed = (await api.send(BRANDS, token=operator.auth)).data["brandList"]
    assert {brand["name"] for brand in listed["data"]} == {"keystead", "rainbowMakers"}
    assert listed["pagination"]["total"] == 2


async def test_a_leaked_brand_token_is_replaced(api: Api, operator: Tokens) -> None:
    await api.send(CREATE, {"input": {"name": "rainbowMakers"}}, token=operator.auth)
    leaked = await _issue(api, operator)
    fresh = await _issue(api, operator, others=True)
    refused = await api.send("mutation { createMe }", brand=leaked)
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
    assert await create_me(api, fresh)


@pytest.mark.parametrize(("operation", "variables"), FOR_OPERATORS)
async def test_the_administrator_of_a_brand_is_no_operator(
    api: Api, operator: Tokens, admin: User, operation: str, variables: dict[str, object]
) -> None:
    auth = (await sign_in(api, ADMIN, "rainbowMakers")).auth
    _lacks_operator(await api.send(operation, variables, token=auth))
    assert (await api.send(OWN, token=auth)).data == {"brand": {"data": {"name": "rainbowMakers"}}}
    assert (await api.send(operation, variables, token=operator.auth)).data


async def test_operator_is_never_granted_by_name(api: Api, operator: Tokens, admin: User) -> None:
    auth = (await sign_in(api, ADMIN, "rainbowMakers")).auth
    grants = [
        'mutation { createUser(input: { email: "eve@example.com", permissions: ["operator"] }) { data { id } } }',
        'mutation { defineRole(input: { name: "gods", permissions: ["operator"] }) { data { name } } }',
        'mutation { createApiKey(input: { name: "god", permissions: ["operator"] }) { data { id } } }',
    ]
    for text in grants:
        for token in (auth, operator.auth):
            refused = await api.send(text, token=token)
            assert refused.code in ("FORBIDDEN", "BAD_USER_INPUT"), refused.body
    _lacks_operator(await api.send(BRANDS, token=auth))


async def test_an_operator_sees_brands_and_not_what_is_in_them(api: Api, operator: Tokens, admin: User) -> None:
    assert (await api.send(OWN, token=operator.auth)).data == {"brand": {"data": {"name": "keystead"}}}
    users = (await api.send("{ userList { data { email } } }", token=operator.auth)).data["userList"]["data"]
    assert users == [{"email": ROOT}]
    by_id = "query ($id: ID!) { userById(id: $id) { data { email } } }"
    assert (await api.send(by_id, {"id": admin.id}, token=operator.auth)).data == {"userById": None}


async def test_the_operators_brand_has_no_sign_up(api: Api, operator: Tokens) -> None:
    token = await _issue(api, operator, "keystead")
    refused = await api.send("mutation { createMe }", brand=token)
    assert (refused.code, refused.extensions["feature"]) == ("FORBIDDEN", "anonymous_users")


async def test_brand_names_are_unique(api: Api, operator: Tokens, admin: User) -> None:
    for name, code in (("rainbowMakers", "CONFLICT"), ("keystead", "BAD_USER_INPUT")):
        refused = await api.send(CREATE, {"input": {"name": name}}, token=operator.auth)
        assert (refused.code, refused.extensions["field"]) == (code, "name")


async def _issue(api: Api, operator: Tokens, name: str = "rainbowMakers", others: bool = False) -> str:
    issued = await api.send(ISSUE, {"name": name, "others": others}, token=operator.auth)
    token: str = issued.data["issueBrandToken"]["data"]["token"]
    return token


def _lacks_operator(answer: Answer) -> None:
    assert (answer.status, answer.code, answer.extensions["permission"]) == (200, "FORBIDDEN", "operator")
