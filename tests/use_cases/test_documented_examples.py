"""The examples of the two published API documentations, byte for byte.

Nothing is changed but what they leave open: the endpoint's host and their ``YOUR_TOKEN``, ``<email>``, ``token-id``.
"""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.api import Answer, Api
from tests.clocks import ManualClock
from tests.make import PASSWORD, make_api_key, make_entity
from tests.use_cases.curl import curl
from tests.use_cases.people import ADMIN, ANN, log_in

# ----------------------------------------------------------------------------- the pair contract: docs.pyloapp.com

ME_BY_BEARER = r"""
curl -X POST https://api.pyloapp.com/graphql \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer YOUR_TOKEN" \
  -d '{"query": "{ me { id email } }"}'
"""

CUSTOMERS_BY_KEY = r"""
curl -X POST https://api.pyloapp.com/graphql \
  -H "Content-Type: application/json" \
  -H "pylo-api-key: YOUR_API_KEY" \
  -d '{"query": "{ customerList { data { id name } } }"}'
"""

CUSTOMERS_BY_TOKEN = r"""
curl -X POST https://api.pyloapp.com/graphql \
  -H "Content-Type: application/json" \
  -H "pylo-api-key: YOUR_API_TOKEN" \
  -d '{"query": "{ customerList { data { id name } } }"}'
"""

HEALTH = r"""
curl -X POST https://api.pyloapp.com/graphql \
  -H "Content-Type: application/json" \
  -H "pylo-api-key: YOUR_API_KEY" \
  -d '{ "query": "query { health { data { up } } }"}'
"""

LOGIN = """mutation Login($input: AuthRequest!) {
  login(input: $input) {
    data {
      auth_token
      refresh_token
    }
  }
}"""

REFRESH_TOKEN = """mutation RefreshToken($input: AuthRefreshRequest!) {
  refreshToken(input: $input) {
    data {
      auth_token
      refresh_token
    }
  }
}"""

CREATE_KEY = """mutation {
  createPyloApiKey(
    input: {
      name: "CI/CD Integration"
      permissions: ["read", "write"]
    }
  ) {
    data {
      id
      name
      token
    }
  }
}"""

DELETE_KEY = """mutation {
  deletePyloApiKey(ids: ["token-id"]) {
    data {
      success
    }
  }
}"""


def in_both_prints(question: str) -> pytest.MarkDecorator:
    """Runs a test with ``question`` as it is printed and on one line."""
    texts = [question, " ".join(question.split())]
    return pytest.mark.parametrize("question", texts, ids=["as printed", "on one line"])


UP = {"health": {"data": {"up": True}}}


@pytest.fixture
async def key(server: Server, brand: ActiveBrand) -> str:
    """An API key that reads and writes the customers of ``rainbowMakers``."""
    await make_entity(server, brand)
    return (await make_api_key(server, brand, "read", "write"))[1].reveal()


@in_both_prints(LOGIN)
async def test_login(api: Api, ann: User, question: str) -> None:
    variables = {"input": {"email": ANN, "password": PASSWORD}}
    given = (await api.send(question, variables, operation_name="Login")).data["login"]["data"]
    assert given["auth_token"].startswith("eyJ")
    assert given["refresh_token"].startswith("ks_rt_")


async def test_login_names_the_app(api: Api, ann: User, other_brand: ActiveBrand) -> None:
    variables = {"input": {"email": ANN, "password": PASSWORD, "pylo_app_id": "rainbowMakers"}}
    assert (await api.send(LOGIN, variables)).data["login"]["data"]["auth_token"]


async def test_a_wrong_password_gives_no_token(api: Api, ann: User) -> None:
    refused = await api.send(LOGIN, {"input": {"email": ANN, "password": "rainbow124"}})
    assert (refused.status, refused.code) == (200, "INVALID_CREDENTIALS")
    assert refused.body["data"] == {"login": None}


@pytest.mark.parametrize(
    "question", [REFRESH_TOKEN, " ".join(REFRESH_TOKEN.split())], ids=["as printed", "on one line"]
)
async def test_token_refresh(api: Api, ann: User, question: str) -> None:
    first = await log_in(api)
    given = (await api.send(question, {"input": {"refresh_token": first.refresh}})).data["refreshToken"]["data"]
    assert given["auth_token"].startswith("eyJ")
    assert given["refresh_token"] != first.refresh


async def test_an_invalid_refresh_token_has_the_code_that_clients_check(api: Api, ann: User) -> None:
    refused = await api.send(REFRESH_TOKEN, {"input": {"refresh_token": "ks_rt_nonsense"}})
    assert (refused.status, refused.code) == (200, "REFRESH_TOKEN_INVALID")
    assert "unauthenticated" in refused.errors[0]["message"].lower()


async def test_token_lifetimes(api: Api, ann: User, clock: ManualClock) -> None:
    """Auth token: 1 hour. Refresh token: 7 days."""
    tokens = await log_in(api)
    clock.advance(seconds=3599)
    assert (await curl(api, ME_BY_BEARER, YOUR_TOKEN=tokens.auth)).data
    clock.advance(seconds=1)
    assert (await curl(api, ME_BY_BEARER, YOUR_TOKEN=tokens.auth)).status == 401
    clock.advance(days=7, seconds=-3601)
    given = (await api.send(REFRESH_TOKEN, {"input": {"refresh_token": tokens.refresh}})).data["refreshToken"]["data"]
    clock.advance(days=7, seconds=1)
    too_late = await api.send(REFRESH_TOKEN, {"input": {"refresh_token": given["refresh_token"]}})
    assert too_late.code == "REFRESH_TOKEN_EXPIRED"


async def test_a_request_with_a_bearer_token(api: Api, ann: User) -> None:
    answer = await curl(api, ME_BY_BEARER, YOUR_TOKEN=(await log_in(api)).auth)
    assert answer.data == {"me": {"id": ann.id, "email": ANN}}


async def test_a_request_with_the_placeholder_itself(api: Api, ann: User) -> None:
    answer = await curl(api, ME_BY_BEARER)
    assert (answer.status, answer.code) == (401, "UNAUTHENTICATED")


async def test_me_through_current_user(api: Api, ann: User) -> None:
    answer = await api.send("{ me { current_user { data { id email } } } }", token=(await log_in(api)).auth)
    assert answer.data == {"me": {"current_user": {"data": {"id": ann.id, "email": ANN}}}}


async def test_a_request_with_an_api_key(api: Api, key: str) -> None:
    assert (await curl(api, CUSTOMERS_BY_KEY, YOUR_API_KEY=key)).data == {"customerList": {"data": []}}
    assert (await curl(api, CUSTOMERS_BY_TOKEN, YOUR_API_TOKEN=key)).data == {"customerList": {"data": []}}


@pytest.mark.parametrize("header", ["keystead-api-key", "pylo-api-key", "x-api-key"])
async def test_every_name_of_the_key_header(api: Api, key: str, header: str) -> None:
    assert (await curl(api, CUSTOMERS_BY_KEY.replace("pylo-api-key", header), YOUR_API_KEY=key)).data


async def test_health(api: Api, key: str) -> None:
    assert (await curl(api, HEALTH, YOUR_API_KEY=key)).data == UP
    assert (await api.send("query { health { data { up } } }")).data == UP


async def test_a_key_is_created_used_and_deleted(api: Api, server: Server, brand: ActiveBrand, admin: User) -> None:
    await make_entity(server, brand)
    auth = (await log_in(api, ADMIN)).auth
    made = (await api.send(CREATE_KEY, token=auth)).data["createPyloApiKey"]["data"]
    assert made["name"] == "CI/CD Integration"
    assert (await curl(api, CUSTOMERS_BY_TOKEN, YOUR_API_TOKEN=made["token"])).data
    deleted = await api.send(DELETE_KEY.replace("token-id", made["id"]), token=auth)
    assert deleted.data == {"deletePyloApiKey": {"data": {"success": True}}}
    _is_unauthorized(await curl(api, CUSTOMERS_BY_TOKEN, YOUR_API_TOKEN=made["token"]))


async def test_only_an_administrator_creates_and_deletes_keys(api: Api, ann: User, key: str) -> None:
    auth = (await log_in(api)).auth
    for operation in (CREATE_KEY, DELETE_KEY):
        for token, api_key in ((auth, None), (None, key)):
            refused = await api.send(operation, token=token, key=api_key)
            assert (refused.code, refused.extensions["permission"]) == ("FORBIDDEN", "admin")


async def test_the_placeholder_is_not_a_key(api: Api, key: str) -> None:
    _is_unauthorized(await curl(api, CUSTOMERS_BY_KEY))


async def test_the_five_operations_of_an_entity(api: Api, key: str) -> None:
    """``customerList  customerById  createCustomer  updateCustomer  deleteCustomer``"""

    async def ask(text: str) -> Any:
        return (await api.send(text, headers={"pylo-api-key": key})).data

    made = (await ask('mutation { createCustomer(input: { name: "Acme Corp" }) { data { id name } } }'))[
        "createCustomer"
    ]
    assert made["data"]["name"] == "Acme Corp"
    named = f'"{made["data"]["id"]}"'
    assert await ask(f"{{ customerById(id: {named}) {{ data {{ id name }} }} }}") == {"customerById": made}
    listing = "customerList(pagination: { page: 1, per_page: 20 })"
    about = "pagination { total current_page per_page last_page has_more_pages }"
    assert (await ask(f"{{ {listing} {{ data {{ id name }} {about} }} }}"))["customerList"] == {
        "data": [made["data"]],
        "pagination": {"total": 1, "current_page": 1, "per_page": 20, "last_page": 1, "has_more_pages": False},
    }
    update = f'mutation {{ updateCustomer(input: {{ id: {named}, name: "Acme" }}) {{ data {{ name }} }} }}'
    assert await ask(update) == {"updateCustomer": {"data": {"name": "Acme"}}}
    delete = f"mutation {{ deleteCustomer(ids: [{named}]) {{ data {{ success }} }} }}"
    assert await ask(delete) == {"deleteCustomer": {"data": {"success": True}}}
    assert await ask(f"{{ customerById(id: {named}) {{ data {{ id }} }} }}") == {"customerById": None}


async def test_the_system_entities_follow_the_same_patterns(api: Api, admin: User, ann: User) -> None:
    auth = (await log_in(api, ADMIN)).auth
    users = (await api.send("{ pyloUserList { data { id email } } }", token=auth)).data["pyloUserList"]["data"]
    assert {user["email"] for user in users} == {ADMIN, ANN}
    one = await api.send(f'{{ pyloUserById(id: "{ann.id}") {{ data {{ email }} }} }}', token=auth)
    assert one.data == {"pyloUserById": {"data": {"email": ANN}}}
    assert (await api.send("{ pyloApiKeyList { data { id } } }", token=auth)).data == {"pyloApiKeyList": {"data": []}}


# --------------------------------------------------------------------------- the standing contract: docs.yoli.ai

CREATE_ME = """mutation {
  createMe(brand: "rainbowMakers")
}"""

LOGIN_FOR_A_REFRESH_TOKEN = """{
  login(email: "<email>", brand: "rainbowMakers", password: "rainbow123")
}"""

GET_ACCESS_TOKEN = """{
  getAccessToken(refreshToken: "<REFRESH_TOKEN>", expiresIn: 600)
}"""

INVALIDATE = """mutation {
  invalidateRefreshToken
}"""


def brand_authorization(token: str) -> dict[str, str]:
    """The header as it is printed."""
    return {"yoli-brand-authorization": token}


async def test_create_me(api: Api, brand_token: str) -> None:
    answer = await api.send(CREATE_ME, headers=brand_authorization(brand_token))
    assert answer.body == {"data": {"createMe": answer.body["data"]["createMe"]}}
    assert answer.body["data"]["createMe"].startswith("ks_rt_")


async def test_create_me_needs_the_brand_header(api: Api, brand_token: str) -> None:
    assert (await api.send(CREATE_ME)).code == "UNAUTHENTICATED"
    _is_unauthorized(await api.send(CREATE_ME, headers=brand_authorization("<YOUR_TOKEN>")))


async def test_log_in_for_a_refresh_token(api: Api, ann: User) -> None:
    answer = await api.send(LOGIN_FOR_A_REFRESH_TOKEN.replace("<email>", ANN))
    assert answer.data["login"].startswith("ks_rt_")
    wrong = await api.send(LOGIN_FOR_A_REFRESH_TOKEN.replace("<email>", ANN).replace("rainbow123", "rainbow321"))
    assert (wrong.status, wrong.code, wrong.body["data"]) == (200, "INVALID_CREDENTIALS", {"login": None})


async def test_log_in_with_the_header_as_with_every_request(api: Api, ann: User, brand_token: str) -> None:
    text = LOGIN_FOR_A_REFRESH_TOKEN.replace("<email>", ANN)
    assert (await api.send(text, headers=brand_authorization(brand_token))).data["login"]


async def test_get_an_access_token_and_use_it(api: Api, brand_token: str, clock: ManualClock) -> None:
    """The access token goes raw into the authorization header; 401 says that it is time for another one."""
    header = brand_authorization(brand_token)
    refresh_token = (await api.send(CREATE_ME, headers=header)).data["createMe"]
    exchange = GET_ACCESS_TOKEN.replace("<REFRESH_TOKEN>", refresh_token)
    access_token = (await api.send(exchange, headers=header)).data["getAccessToken"]
    assert (await api.send("{ me { id email } }", headers={"authorization": access_token})).data["me"]["email"] is None
    clock.advance(seconds=600)
    expired = await api.send("{ me { id email } }", headers={"authorization": access_token, **header})
    assert (expired.status, expired.code) == (401, "UNAUTHENTICATED")
    # "make sure not to set the authorization header when getting an access token"
    assert (await api.send(exchange, headers={"authorization": access_token})).status == 401
    another = (await api.send(exchange)).data["getAccessToken"]
    assert (await api.send("{ me { id } }", headers={"authorization": another})).data["me"]["id"]


async def test_the_default_is_fifteen_minutes(api: Api, ann: User, clock: ManualClock) -> None:
    refresh_token = (await api.send(LOGIN_FOR_A_REFRESH_TOKEN.replace("<email>", ANN))).data["login"]
    exchange = GET_ACCESS_TOKEN.replace("<REFRESH_TOKEN>", refresh_token).replace(", expiresIn: 600", "")
    access_token = (await api.send(exchange)).data["getAccessToken"]
    clock.advance(minutes=15, seconds=-1)
    assert (await api.send("{ me { id } }", headers={"authorization": access_token})).data
    clock.advance(seconds=1)
    assert (await api.send("{ me { id } }", headers={"authorization": access_token})).status == 401


async def test_refresh_tokens_are_valid_until_they_are_invalidated(api: Api, ann: User, clock: ManualClock) -> None:
    log_in_again = LOGIN_FOR_A_REFRESH_TOKEN.replace("<email>", ANN)
    refresh_token = (await api.send(log_in_again)).data["login"]
    exchange = GET_ACCESS_TOKEN.replace("<REFRESH_TOKEN>", refresh_token)
    clock.advance(days=400)
    access_token = (await api.send(exchange)).data["getAccessToken"]
    assert (await api.send(INVALIDATE, headers={"authorization": access_token})).data == {
        "invalidateRefreshToken": True
    }
    assert (await api.send("{ me { id } }", headers={"authorization": access_token})).status == 401
    assert (await api.send(exchange)).code == "REFRESH_TOKEN_INVALID"
    assert (await api.send(log_in_again)).data["login"] != refresh_token


async def test_a_logout_without_a_way_back_is_warned_about(api: Api, brand_token: str) -> None:
    """The documentation warns in words of invalidating before an e-mail and a password are set."""
    refresh_token = (await api.send(CREATE_ME, headers=brand_authorization(brand_token))).data["createMe"]
    exchange = GET_ACCESS_TOKEN.replace("<REFRESH_TOKEN>", refresh_token)
    access_token = (await api.send(exchange)).data["getAccessToken"]
    refused = await api.send(INVALIDATE, headers={"authorization": access_token})
    assert (refused.code, refused.body["data"]) == ("NO_LOGIN_METHOD", {"invalidateRefreshToken": None})
    assert (await api.send(exchange)).data["getAccessToken"]


def _is_unauthorized(answer: Answer) -> None:
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert "Unauthorized" in answer.errors[0]["message"]
