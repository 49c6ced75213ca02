"""Links that log in or lead to a new password, through the whole application."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import MailKind
from keystead.users.model import User
from tests.api import Answer, Api, make_api
from tests.authentication.conftest import PASSWORD
from tests.authentication.mailed import outbox, token_in
from tests.clocks import ManualClock
from tests.make import change_brand, make_brand, make_brand_token, make_user

EMAIL = "ann@example.com"
NEW = "a fresh secret sentence"
REQUEST_LOGIN = "mutation ($email: String!, $brand: String) { requestMagicLogin(email: $email, brand: $brand) }"
REQUEST_RESET = "mutation ($email: String!, $brand: String) { requestPasswordReset(email: $email, brand: $brand) }"
REDEEM = """
mutation ($token: String!, $session: SessionKind) {
  redeemMagicLink(token: $token, session: $session) { data { refresh_token auth_token session } }
}
"""
RESET = "mutation ($token: String!, $new: String!) { resetPassword(token: $token, newPassword: $new) }"
LOGIN = "query ($email: String!, $password: String!) { login(email: $email, password: $password) }"
GET_ACCESS_TOKEN = "query ($token: String!) { getAccessToken(refreshToken: $token) }"
REFRESH = "mutation ($i: AuthRefreshRequest!) { refreshToken(input: $i) { data { auth_token refresh_token } } }"
ME = "{ me { id email verified } }"

REQUESTS = {REQUEST_LOGIN: MailKind.magic_login, REQUEST_RESET: MailKind.reset_password}
BOTH = pytest.mark.parametrize("query", REQUESTS, ids=REQUESTS.values())


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand with magic login."""
    return await make_brand(server, features={"magic_login": True})


@pytest.fixture
async def api(server: Server, brand: ActiveBrand, ann: User) -> Api:
    """A client of the application; ann is there."""
    return await make_api(server)


async def mailed(api: Api, query: str) -> str:
    """Asks for a link; the token in it."""
    assert set((await api.send(query, {"email": EMAIL})).data.values()) == {True}
    return token_in(api.server, (await outbox(api.server, REQUESTS[query]))[-1])


async def redeem(api: Api, token: str, session: str | None = None, **request: Any) -> Answer:
    return await api.send(REDEEM, {"token": token, "session": session}, **request)


async def test_a_link_opens_a_pair_session(api: Api, ann: User) -> None:
    opened = (await redeem(api, await mailed(api, REQUEST_LOGIN))).data["redeemMagicLink"]["data"]
    assert opened["session"] == "pair"
    me = (await api.send(ME, token=opened["auth_token"])).data["me"]
    assert me == {"id": ann.id, "email": EMAIL, "verified": True}
    assert (await api.send(REFRESH, {"i": {"refresh_token": opened["refresh_token"]}})).data
    refused = await api.send(GET_ACCESS_TOKEN, {"token": opened["refresh_token"]})
    assert refused.code == "REFRESH_TOKEN_INVALID"


async def test_a_link_opens_a_standing_session(api: Api, ann: User) -> None:
    opened = (await redeem(api, await mailed(api, REQUEST_LOGIN), "standing")).data["redeemMagicLink"]["data"]
    assert (opened["session"], opened["auth_token"]) == ("standing", None)
    token = (await api.send(GET_ACCESS_TOKEN, {"token": opened["refresh_token"]})).data["getAccessToken"]
    assert (await api.send(ME, token=token)).data["me"]["id"] == ann.id


async def test_a_link_is_used_once(api: Api) -> None:
    token = await mailed(api, REQUEST_LOGIN)
    assert (await redeem(api, token)).data
    again = await redeem(api, token)
    assert (again.status, again.code, again.body["data"]) == (200, "TOKEN_INVALID", {"redeemMagicLink": None})


async def test_a_kind_of_session_that_is_none_is_not_valid(api: Api) -> None:
    answer = await redeem(api, "x", "eternal")
    assert (answer.status, answer.code) == (400, "BAD_USER_INPUT")


async def test_a_new_password_ends_what_was(api: Api) -> None:
    opened = (await redeem(api, await mailed(api, REQUEST_LOGIN))).data["redeemMagicLink"]["data"]
    token = await mailed(api, REQUEST_RESET)
    refused = await api.send(RESET, {"token": token, "new": "short"})
    assert (refused.code, refused.extensions["field"]) == ("BAD_USER_INPUT", "newPassword")
    assert (await api.send(RESET, {"token": token, "new": NEW})).data == {"resetPassword": True}
    gone = await api.send(ME, token=opened["auth_token"])
    assert (gone.status, gone.code) == (401, "UNAUTHENTICATED")
    assert (await api.send(RESET, {"token": token, "new": NEW})).code == "TOKEN_INVALID"
    assert (await api.send(LOGIN, {"email": EMAIL, "password": PASSWORD})).code == "INVALID_CREDENTIALS"
    assert (await api.send(LOGIN, {"email": EMAIL, "password": NEW})).data


@pytest.mark.attack("A65")
@BOTH
async def test_one_answer_for_every_address(api: Api, clock: ManualClock, query: str) -> None:
    answers = []
    for email in (EMAIL, EMAIL, EMAIL, "nobody@example.com", "nobody@example.com"):
        answer = await api.send(query, {"email": email})
        headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
        answers.append((answer.status, answer.data, headers))
    assert all(answer == answers[0] for answer in answers)
    assert len(await outbox(api.server)) == 1


@BOTH
async def test_the_brand_of_a_request(api: Api, server: Server, brand: ActiveBrand, query: str) -> None:
    other = await make_brand(server, "other", features={"magic_login": True})
    await make_user(server, other)
    header = (await make_brand_token(server, other)).reveal()
    nameless = await api.send(query, {"email": EMAIL})
    assert (nameless.code, nameless.extensions["field"]) == ("BAD_USER_INPUT", "brand")
    mismatch = await api.send(query, {"email": EMAIL, "brand": brand.name}, brand=header)
    assert mismatch.code == "BRAND_MISMATCH"
    for variables, credential in (({"brand": brand.id}, None), ({}, header)):
        assert (await api.send(query, {"email": EMAIL, **variables}, brand=credential)).data
    assert {mail.brand_id for mail in await outbox(server)} == {brand.id, other.id}


async def test_a_header_of_another_brand_leaves_the_token_good(
    api: Api, server: Server, brand: ActiveBrand, clock: ManualClock
) -> None:
    login = await mailed(api, REQUEST_LOGIN)
    clock.advance(minutes=1)
    reset = await mailed(api, REQUEST_RESET)
    theirs = (await make_brand_token(server, await make_brand(server, "other"))).reveal()
    own = (await make_brand_token(server, brand)).reveal()
    for header, code in ((theirs, "TOKEN_INVALID"), (own, None)):
        assert (await redeem(api, login, brand=header)).code == code
        assert (await api.send(RESET, {"token": reset, "new": NEW}, brand=header)).code == code


@pytest.mark.parametrize(
    ("operation", "features", "feature"),
    [
        ('requestMagicLogin(email: "b@example.com")', {"magic_login": False}, "magic_login"),
        ('redeemMagicLink(token: "x") { data { refresh_token } }', {"magic_login": False}, "magic_login"),
        ('requestPasswordReset(email: "b@example.com")', {"password_reset": False}, "password_reset"),
        ('resetPassword(token: "x", newPassword: "y")', {"password_reset": False}, "password_reset"),
        ('requestPasswordReset(email: "b@example.com")', {"password_login": False}, "password_login"),
        ('resetPassword(token: "x", newPassword: "y")', {"password_login": False}, "password_login"),
    ],
)
async def test_a_feature_that_is_off_is_named(
    api: Api, server: Server, brand: ActiveBrand, operation: str, features: dict[str, bool], feature: str
) -> None:
    await change_brand(server, brand, {"features": features})
    header = (await make_brand_token(server, brand)).reveal()
    for credential in (None, header):
        answer = await api.send(f"mutation {{ {operation} }}", brand=credential)
        assert (answer.status, answer.code, answer.extensions["feature"]) == (200, "FORBIDDEN", feature)
