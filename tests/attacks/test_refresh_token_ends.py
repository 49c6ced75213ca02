"""A26, A27, A29, A32: ending sessions by their refresh tokens, and standing tokens until they are invalidated."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.policy import SessionKind
from keystead.sessions.model import Opened
from keystead.users.login_store import bump_epoch
from keystead.users.model import User
from keystead.users.service import create_anonymous
from tests.api import Answer, Api
from tests.attacks.conftest import PASSWORD
from tests.attacks.operations import (
    CREATE_ME,
    INVALIDATE,
    ME,
    assert_error,
    assert_token_refused,
    get_access_token,
    log_in,
    refresh,
    send_get_access_token,
    send_refresh,
)
from tests.attacks.session_rows import events_of
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import change_brand, make_access_token, make_brand, make_brand_token, make_session, make_user


@pytest.mark.attack("A29")
async def test_a_standing_token_works_after_400_days_until_it_is_invalidated(
    api: Api, brand_token: str, clock: ManualClock
) -> None:
    """It was never used in between, and is not worn by use; once invalidated it is dead for good."""
    token = (await api.send(CREATE_ME, brand=brand_token)).data["createMe"]
    clock.advance(days=400)
    access = [await get_access_token(api, token) for _ in range(3)]
    assert (await api.send(ME, token=access[0])).data["me"]
    clock.advance(days=400)
    access.append(await get_access_token(api, token))
    assert (await api.send(INVALIDATE, {"force": True}, token=access[-1])).data["invalidateRefreshToken"] is True
    for each in access:
        assert_token_refused(await api.send(ME, token=each))
    for _ in range(2):
        assert_error(await send_get_access_token(api, token), "REFRESH_TOKEN_INVALID")
        clock.advance(days=400)


@pytest.mark.attack("A29")
async def test_the_brand_may_set_an_end(
    server: Server, api: Api, brand: ActiveBrand, ann: User, clock: ManualClock
) -> None:
    """Where it does, the token ends, and no access token outlives it."""
    limited = await change_brand(server, brand, {"policy": {"standing_refresh_ttl": 86_400}})
    token = (await make_session(server, limited, ann.id, SessionKind.standing)).refresh_token.reveal()
    clock.advance(seconds=86_400 - 100)
    access = await get_access_token(api, token)
    clock.advance(seconds=99)
    assert (await api.send(ME, token=access)).data["me"]
    clock.advance(seconds=1)
    assert_token_refused(await api.send(ME, token=access))
    assert_error(await send_get_access_token(api, token), "REFRESH_TOKEN_EXPIRED")


_WAYS_IN: list[tuple[dict[str, Any], dict[str, bool], bool]] = [
    # the user; the brand's features; whether the user could log in again
    ({"password": PASSWORD}, {}, True),
    ({"password": PASSWORD}, {"password_login": False}, False),
    ({"password": PASSWORD}, {"password_login": False, "magic_login": True}, True),
    ({"password": PASSWORD}, {"email_verification": False}, True),
    ({}, {}, False),
    ({}, {"magic_login": True}, True),
    ({}, {"magic_login": True, "password_login": False}, True),
    ({"is_verified": False, "password": PASSWORD}, {}, False),
    ({"is_verified": False, "password": PASSWORD}, {"magic_login": True}, False),
    ({"is_verified": False}, {"magic_login": True}, False),
]


@pytest.mark.attack("A32")
async def test_nobody_shuts_themselves_out_by_mistake(server: Server, api: Api) -> None:
    """A user without a way back in must say so; one with a way back in need not."""
    for number, (user, features, has_a_way) in enumerate(_WAYS_IN):
        brand = await make_brand(server, f"shop{number}", features=features)
        made = await make_user(server, brand, **user)
        case = (user, features)
        await _assert_invalidates(server, api, brand, made.id, has_a_way, case)


@pytest.mark.attack("A32")
async def test_an_anonymous_user_must_say_so(server: Server, api: Api) -> None:
    """Whatever the brand offers: there is no address to come back with."""
    for name, features in (("plain", {}), ("magic", {"magic_login": True})):
        brand = await make_brand(server, name, features=features)
        async with server.db.transaction() as tx:
            user_id = await create_anonymous(tx, brand.id, server.clock.now())
        await _assert_invalidates(server, api, brand, user_id, False, name)


async def _assert_invalidates(
    server: Server, api: Api, brand: ActiveBrand, user_id: str, freely: bool, case: object
) -> None:
    pair = await make_session(server, brand, user_id)
    standing = (await make_session(server, brand, user_id, SessionKind.standing)).refresh_token.reveal()
    token = make_access_token(server, pair)
    if not freely:
        for variables in ({}, {"force": False}, {"force": None}):
            assert_error(await api.send(INVALIDATE, variables, token=token), "NO_LOGIN_METHOD", case)
        assert_error(await api.send("mutation { invalidateRefreshToken }", token=token), "NO_LOGIN_METHOD", case)
        # Refused means that nothing happened.
        assert (await api.send(ME, token=token)).data["me"]
        assert await get_access_token(api, standing)
    variables = {} if freely else {"force": True}
    assert (await api.send(INVALIDATE, variables, token=token)).data["invalidateRefreshToken"] is True, case
    assert_token_refused(await api.send(ME, token=token), case)
    assert_error(await send_get_access_token(api, standing), "REFRESH_TOKEN_INVALID", case)
    assert_error(await send_refresh(api, pair.refresh_token.reveal()), "REFRESH_TOKEN_INVALID", case)


@pytest.mark.attack("A32")
async def test_who_could_log_in_again_can(api: Api, ann: User) -> None:
    """The way back in is open."""
    token, _ = await log_in(api, "ann@example.com", PASSWORD)
    assert (await api.send(INVALIDATE, token=token)).data["invalidateRefreshToken"] is True
    assert_token_refused(await api.send(ME, token=token))
    again, _ = await log_in(api, "ann@example.com", PASSWORD)
    assert (await api.send(ME, token=again)).data["me"]["id"] == ann.id


LOGOUT = "mutation ($token: String) { logout(refresh_token: $token) { data { success } } }"


def assert_logged_out(answer: Answer, case: object = "") -> None:
    """The only response to ``logout`` with a refresh token, whatever the token is."""
    assert (answer.status, answer.body) == (200, {"data": {"logout": {"data": {"success": True}}}}), case


@pytest.mark.parametrize("token", ["current", "rotated", "expired", "standing"])
async def test_any_refresh_token_of_a_session_ends_it_without_another_credential(
    server: Server, api: Api, brand: ActiveBrand, ann: User, clock: ManualClock, token: str
) -> None:
    kind = SessionKind.standing if token == "standing" else SessionKind.pair
    opened, other = await make_session(server, brand, ann.id, kind), await make_session(server, brand, ann.id)
    raw = newest = opened.refresh_token.reveal()
    if token == "rotated":
        for _ in range(2):
            newest = (await refresh(api, newest))[1]
        clock.advance(hours=1)
    if token == "expired":
        clock.advance(days=400)
    access = make_access_token(server, opened)
    for _ in range(2):  # idempotent
        assert_logged_out(await api.send(LOGOUT, {"token": raw}))
    assert_token_refused(await api.send(ME, token=access))
    send = send_get_access_token if token == "standing" else send_refresh
    assert_error(await send(api, newest), "REFRESH_TOKEN_INVALID")
    assert await events_of(server, opened.session_id) == [
        *[("session.refreshed", "success")] * (2 if token == "rotated" else 0),
        ("session.ended", "success"),
    ]
    assert (await api.send(ME, token=make_access_token(server, other))).data["me"]


@pytest.mark.attack("A26")
@pytest.mark.attack("A27")
async def test_logout_with_a_useless_token_succeeds_and_ends_nothing(
    server: Server, api: Api, brand: ActiveBrand, opened: Opened, watched: WatchedDatabase
) -> None:
    """The response does not tell whether a token was valid, and another brand's credential reaches no session here."""
    other_brand = await make_brand(server, "greyMakers")
    foreign = (await make_brand_token(server, other_brand)).reveal()
    raw, access = opened.refresh_token.reveal(), make_access_token(server, opened)
    assert_logged_out(await api.send(LOGOUT, {"token": raw}, brand=foreign))
    assert_logged_out(await api.send(LOGOUT, {"token": secrets.generate(SecretKind.refresh).reveal()}))
    # With an access token too, it is the refresh token that counts.
    assert_logged_out(await api.send(LOGOUT, {"token": "ks_rt_unknown"}, token=access))
    watched.forget()
    for useless in ("", raw[:-1], "ks_rt_" + "0" * 60_000, secrets.generate(SecretKind.magic).reveal()):
        assert_logged_out(await api.send(LOGOUT, {"token": useless}), useless[:60])
    assert watched.asked == []
    assert_error(await api.send(LOGOUT), "UNAUTHENTICATED")
    assert_error(await api.send(LOGOUT, {"token": None}), "UNAUTHENTICATED")
    assert_token_refused(await api.send(LOGOUT, {"token": raw}, token="no access token"))
    assert (await api.send(ME, token=access)).data["me"]
    assert await refresh(api, raw)


async def test_logout_by_a_token_of_a_session_that_is_over_records_nothing(
    server: Server, api: Api, brand: ActiveBrand, ann: User, opened: Opened
) -> None:
    async with server.db.transaction() as tx:
        await bump_epoch(tx, brand.id, ann.id)
    assert_logged_out(await api.send(LOGOUT, {"token": opened.refresh_token.reveal()}))
    assert await events_of(server, opened.session_id) == []
