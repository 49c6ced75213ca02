"""The operations of both contracts, through the whole application."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.api import Api, make_api
from tests.make import PASSWORD, make_brand_token

EMAIL = "ann@example.com"
LOGIN = "mutation L($i: AuthRequest!) { login(input: $i) { data { auth_token refresh_token } } }"
REFRESH = "mutation R($i: AuthRefreshRequest!) { refreshToken(input: $i) { data { auth_token refresh_token } } }"
ME = "{ me { id email username verified is_anonymous created_at brand permissions } }"


@pytest.fixture
async def api(server: Server, brand: ActiveBrand, ann: User) -> Api:
    """A client of the application; ann is there."""
    return await make_api(server)


async def log_in(api: Api, **more: Any) -> dict[str, str]:
    answer = await api.send(LOGIN, {"i": {"email": EMAIL, "password": PASSWORD, **more}})
    pair: dict[str, str] = answer.data["login"]["data"]
    return pair


async def test_a_pair_from_login_to_logout(api: Api, ann: User, brand: ActiveBrand) -> None:
    pair = await log_in(api, pylo_app_id=brand.name)
    renewed = (await api.send(REFRESH, {"i": {"refresh_token": pair["refresh_token"]}})).data["refreshToken"]["data"]
    token = renewed["auth_token"]
    me = (await api.send(ME, token=token)).data["me"]
    assert me.pop("created_at").startswith("2026-01-01T12:00:00")
    assert me == {
        "id": ann.id,
        "email": EMAIL,
        "username": None,
        "verified": True,
        "is_anonymous": False,
        "brand": brand.name,
        "permissions": [],
    }
    query = "{ sessionList { data { id kind ip_prefix user_agent is_current } pagination { total } } }"
    listed = (await api.send(query, token=token)).data["sessionList"]
    assert listed["pagination"] == {"total": 1}
    (session,) = listed["data"]
    assert (session["kind"], session["is_current"]) == ("pair", True)
    assert (await api.send("mutation { logout { data { success } } }", token=token)).data == {
        "logout": {"data": {"success": True}}
    }
    gone = await api.send(ME, token=token)
    assert (gone.status, gone.code) == (401, "UNAUTHENTICATED")
    over = await api.send(REFRESH, {"i": {"refresh_token": renewed["refresh_token"]}})
    assert (over.status, over.code) == (200, "REFRESH_TOKEN_INVALID")
    assert "unauthenticated" in over.errors[0]["message"]


async def test_me_shows_the_current_user(api: Api, ann: User) -> None:
    token = (await log_in(api))["auth_token"]
    query = "{ me { id current_user { data { id email roles permissions is_disabled updated_at last_login_at } } } }"
    me = (await api.send(query, token=token)).data["me"]
    user = me["current_user"]["data"]
    assert (me["id"], user["id"], user["email"]) == (ann.id, ann.id, EMAIL)
    assert (user["roles"], user["permissions"], user["is_disabled"]) == ([], [], False)
    assert user["last_login_at"]


async def test_a_standing_user_from_the_first_call_to_the_last(api: Api, server: Server, brand: ActiveBrand) -> None:
    header = (await make_brand_token(server, brand)).reveal()
    none = await api.send("mutation { createMe }")
    assert (none.status, none.code) == (200, "UNAUTHENTICATED")
    raw = (await api.send(f'mutation {{ createMe(brand: "{brand.name}") }}', brand=header)).data["createMe"]
    fetch = "query T($r: String!, $s: Int) { getAccessToken(refreshToken: $r, expiresIn: $s) }"
    token = (await api.send(fetch, {"r": raw, "s": None})).data["getAccessToken"]
    me = (await api.send("{ me { email is_anonymous verified } }", token=f"Bearer {token}")).data["me"]
    assert me == {"email": None, "is_anonymous": True, "verified": False}
    refused = await api.send(fetch, {"r": raw, "s": 29})
    assert (refused.code, refused.extensions["field"]) == ("BAD_USER_INPUT", "expiresIn")
    stays = await api.send("mutation { invalidateRefreshToken }", token=token)
    assert (stays.status, stays.code) == (200, "NO_LOGIN_METHOD")
    goes = await api.send("mutation { invalidateRefreshToken(force: true) }", token=token)
    assert goes.data == {"invalidateRefreshToken": True}
    assert (await api.send(fetch, {"r": raw})).code == "REFRESH_TOKEN_INVALID"


async def test_a_standing_login_and_a_new_password(api: Api, brand: ActiveBrand) -> None:
    query = "query L($e: String!, $p: String!, $b: String) { login(email: $e, brand: $b, password: $p) }"
    sent = {"e": EMAIL, "p": PASSWORD, "b": brand.name}
    raw = (await api.send(query, sent)).data["login"]
    fetch = "query T($r: String!) { getAccessToken(refreshToken: $r) }"
    token = (await api.send(fetch, {"r": raw})).data["getAccessToken"]
    change = "mutation C($n: String!, $o: String) { changePassword(newPassword: $n, oldPassword: $o) }"
    wrong = await api.send(change, {"n": "another long one", "o": "wrong"}, token=token)
    assert (wrong.status, wrong.code) == (200, "INVALID_CREDENTIALS")
    done = await api.send(change, {"n": "another long one", "o": PASSWORD}, token=token)
    assert done.data == {"changePassword": True}
    assert (await api.send(query, sent)).code == "INVALID_CREDENTIALS"
