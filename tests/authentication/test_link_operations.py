"""Links that log in or lead to a new password, through the whole application."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.mail.model import MailKind
from keystead.users.model import User
from tests.api import Answer, Api, make_api
from tests.authentication.mailed import outbox, token_in
from tests.make import PASSWORD

pytestmark = pytest.mark.brand(features={"magic_login": True})

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


async def test_a_reset_ends_sessions_and_the_old_password(api: Api) -> None:
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
