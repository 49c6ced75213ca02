"""The developer of an app with users: signing in, staying in, signing out, by either contract."""

from __future__ import annotations

import base64
import json

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.api import Api
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.use_cases.people import (
    ADMIN,
    ANN,
    LOGIN,
    ME,
    create_me,
    get_access_token,
    is_signed_out,
    log_in,
    refresh,
    try_get_access_token,
    try_refresh,
)

SESSIONS = "{ sessionList { data { id kind user_agent is_current } pagination { total } } }"
REVOKE = "mutation ($id: ID!) { revokeSession(id: $id) { data { success } } }"
LOGOUT = "mutation { logout { data { success } } }"
INVALIDATE = "mutation ($force: Boolean) { invalidateRefreshToken(force: $force) }"
LOGIN_STANDING = "query ($email: String!, $password: String!) { login(email: $email, password: $password) }"
CHANGE_PASSWORD = "mutation ($old: String, $new: String!) { changePassword(oldPassword: $old, newPassword: $new) }"
SUCCESS = {"data": {"success": True}}


# ---------------------------------------------------------------------------------------------- the pair contract


async def test_a_day_with_the_pair_contract(api: Api, ann: User) -> None:
    first = await log_in(api)
    assert (await api.send(ME, token=f"Bearer {first.auth}")).data == {"me": {"id": ann.id, "email": ANN}}
    second = await refresh(api, first.refresh)
    assert second.refresh != first.refresh
    again = await refresh(api, first.refresh)
    assert again.refresh == second.refresh, "two tabs refresh concurrently: both get the same token"
    assert (await api.send(LOGOUT, token=again.auth)).data == {"logout": SUCCESS}
    for auth in (first.auth, second.auth, again.auth):
        assert await is_signed_out(api, auth)
    assert (await try_refresh(api, second.refresh)).code == "REFRESH_TOKEN_INVALID"


async def test_a_lost_response_does_not_end_the_session(api: Api, ann: User, clock: ManualClock) -> None:
    first = await log_in(api)
    lost = await refresh(api, first.refresh)
    clock.advance(minutes=2)
    assert (await refresh(api, first.refresh)).refresh == lost.refresh


async def test_a_stolen_token_ends_the_session_for_both(api: Api, ann: User, clock: ManualClock) -> None:
    stolen = await log_in(api)
    owner = await refresh(api, (await refresh(api, stolen.refresh)).refresh)
    clock.advance(seconds=11)
    reused = await try_refresh(api, stolen.refresh)
    assert (reused.status, reused.code) == (200, "REFRESH_TOKEN_REUSED")
    assert "unauthenticated" in reused.errors[0]["message"].lower()
    assert await is_signed_out(api, owner.auth)
    assert (await try_refresh(api, owner.refresh)).code == "REFRESH_TOKEN_INVALID"
    assert await log_in(api), "the owner comes back with the password"


async def test_a_user_lists_sessions_and_ends_one(api: Api, ann: User, admin: User) -> None:
    phone = await log_in(api, headers={"User-Agent": "phone"})
    laptop = await log_in(api, headers={"User-Agent": "laptop"})
    elsewhere = await log_in(api, ADMIN)
    listed = (await api.send(SESSIONS, token=laptop.auth)).data["sessionList"]
    assert listed["pagination"]["total"] == 2
    sessions = {session["user_agent"]: session for session in listed["data"]}
    assert {agent: session["is_current"] for agent, session in sessions.items()} == {"phone": False, "laptop": True}
    lost = {"id": sessions["phone"]["id"]}
    assert (await api.send(REVOKE, lost, token=elsewhere.auth)).code == "NOT_FOUND", "only one's own"
    assert not await is_signed_out(api, phone.auth)
    assert (await api.send(REVOKE, lost, token=laptop.auth)).data == {"revokeSession": SUCCESS}
    assert await is_signed_out(api, phone.auth)
    assert (await api.send(REVOKE, lost, token=laptop.auth)).code == "NOT_FOUND"
    assert (await api.send(SESSIONS, token=laptop.auth)).data["sessionList"]["pagination"]["total"] == 1


async def test_every_failed_login_gets_the_same_answer(api: Api, ann: User) -> None:
    tries = [(ANN, "wrong password"), ("unknown@example.com", PASSWORD)]
    answers = [await api.send(LOGIN, {"input": {"email": email, "password": word}}) for email, word in tries]
    for answer in answers:
        assert (answer.status, answer.code) == (200, "INVALID_CREDENTIALS")
        answer.errors[0]["extensions"].pop("referenceId")
    assert answers[0].body == answers[1].body
    assert await log_in(api)


async def test_the_auth_token_decodes_with_plain_base64_and_tells_nothing_private(api: Api, ann: User) -> None:
    payload = (await log_in(api)).auth.split(".")[1]
    claims = json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4), validate=True))
    assert claims["sub"] == ann.id
    assert claims["exp"] - claims["iat"] == 3600
    assert ANN not in json.dumps(claims)


async def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(api: Api, ann: User) -> None:
    here, there = await log_in(api), await log_in(api)
    change = {"old": "not it at all", "new": "violet indigo blue"}
    assert (await api.send(CHANGE_PASSWORD, change, token=here.auth)).code == "INVALID_CREDENTIALS"
    assert not await is_signed_out(api, there.auth)
    changed = await api.send(CHANGE_PASSWORD, change | {"old": PASSWORD}, token=here.auth)
    assert changed.data == {"changePassword": True}
    assert await is_signed_out(api, there.auth)
    assert not await is_signed_out(api, here.auth)
    assert await refresh(api, here.refresh)
    assert await log_in(api, password="violet indigo blue")
    old = await api.send(LOGIN, {"input": {"email": ANN, "password": PASSWORD}})
    assert old.code == "INVALID_CREDENTIALS"


async def test_me_needs_a_user(api: Api, brand_token: str) -> None:
    for credential in (None, brand_token):
        answer = await api.send(ME, brand=credential)
        assert (answer.status, answer.code, answer.body["data"]) == (200, "UNAUTHENTICATED", {"me": None})


# ------------------------------------------------------------------------------------------ the standing contract


async def test_a_year_with_the_standing_contract(api: Api, brand_token: str, clock: ManualClock) -> None:
    kept = await create_me(api, brand_token)
    clock.advance(days=365)
    access_token = await get_access_token(api, kept)
    me = "{ me { email verified is_anonymous brand permissions current_user { data { is_anonymous } } } }"
    assert (await api.send(me, token=access_token)).data["me"] == {
        "email": None,
        "verified": False,
        "is_anonymous": True,
        "brand": "rainbowMakers",
        "permissions": [],
        "current_user": {"data": {"is_anonymous": True}},
    }
    assert (await api.send(INVALIDATE, token=access_token)).code == "NO_LOGIN_METHOD"
    assert not await is_signed_out(api, access_token)
    forced = await api.send(INVALIDATE, {"force": True}, token=access_token)
    assert forced.data == {"invalidateRefreshToken": True}
    assert await is_signed_out(api, access_token)
    assert (await try_get_access_token(api, kept)).code == "REFRESH_TOKEN_INVALID"


async def test_logging_out_everywhere_reaches_both_contracts(api: Api, ann: User, admin: User) -> None:
    pair, bystander = await log_in(api), await log_in(api, ADMIN)
    standing = (await api.send(LOGIN_STANDING, {"email": ANN, "password": PASSWORD})).data["login"]
    access_token = await get_access_token(api, standing)
    assert (await api.send(INVALIDATE, token=access_token)).data == {"invalidateRefreshToken": True}
    assert await is_signed_out(api, access_token)
    assert await is_signed_out(api, pair.auth)
    assert (await try_refresh(api, pair.refresh)).code == "REFRESH_TOKEN_INVALID"
    assert (await try_get_access_token(api, standing)).code == "REFRESH_TOKEN_INVALID"
    assert not await is_signed_out(api, bystander.auth)


async def test_each_kind_of_refresh_token_is_rejected_at_the_other_exchange(
    api: Api, ann: User, brand_token: str
) -> None:
    pair, standing = await log_in(api), await create_me(api, brand_token)
    assert (await try_refresh(api, standing)).code == "REFRESH_TOKEN_INVALID"
    assert (await try_get_access_token(api, pair.refresh)).code == "REFRESH_TOKEN_INVALID"
    assert await refresh(api, pair.refresh)
    assert await get_access_token(api, standing)


@pytest.mark.parametrize(("asked", "lifetime"), [(None, 900), (30, 30), (600, 600), (3600, 3600)])
async def test_the_caller_chooses_how_long_an_access_token_lives(
    api: Api, brand_token: str, clock: ManualClock, asked: int | None, lifetime: int
) -> None:
    token = await get_access_token(api, await create_me(api, brand_token), asked)
    clock.advance(seconds=lifetime - 1)
    assert not await is_signed_out(api, token)
    clock.advance(seconds=1)
    assert await is_signed_out(api, token)


@pytest.mark.parametrize("asked", [-1, 0, 29, 3601])
async def test_a_lifetime_out_of_range_is_rejected_not_clamped(api: Api, brand_token: str, asked: int) -> None:
    answer = await try_get_access_token(api, await create_me(api, brand_token), asked)
    assert (answer.status, answer.code, answer.extensions["field"]) == (200, "BAD_USER_INPUT", "expiresIn")


async def test_create_me_finds_its_brand_by_header_and_takes_the_argument_as_a_check(
    api: Api, brand_token: str, other_brand: ActiveBrand
) -> None:
    create = "mutation ($brand: String) { createMe(brand: $brand) }"
    assert (await api.send(create, {"brand": "rainbowMakers"}, brand=brand_token)).data["createMe"]
    assert (await api.send(create, {"brand": "greyMakers"}, brand=brand_token)).code == "BRAND_MISMATCH"
    assert (await api.send(create, {"brand": "rainbowMakers"})).code == "UNAUTHENTICATED"


async def test_a_pending_address_is_shown_and_cannot_log_in_before_verification(
    api: Api, server: Server, brand_token: str
) -> None:
    token = await get_access_token(api, await create_me(api, brand_token))
    claim = 'mutation { changeAndValidateEmail(newEmail: "new@example.com", password: "rainbow123") }'
    assert (await api.send(claim, token=token)).data == {"changeAndValidateEmail": True}
    me = (await api.send("{ me { email verified is_anonymous } }", token=token)).data["me"]
    assert me == {"email": "new@example.com", "verified": False, "is_anonymous": True}
    assert (await api.send(LOGIN, {"input": {"email": "new@example.com", "password": "rainbow123"}})).code == (
        "INVALID_CREDENTIALS"
    )
