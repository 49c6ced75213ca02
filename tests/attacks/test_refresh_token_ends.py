"""A26, A27, A29, A32: ending sessions by their refresh tokens, and standing tokens until they are invalidated."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.policy import SessionKind
from keystead.sessions.model import Opened
from keystead.users.login_store import bump_epoch
from keystead.users.model import User
from tests.api import Answer, Api
from tests.attacks.operations import (
    CREATE_ME,
    INVALIDATE,
    ME,
    assert_error,
    assert_token_refused,
    get_access_token,
    refresh,
    send_get_access_token,
    send_refresh,
)
from tests.attacks.session_rows import events_of
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.make import make_access_token, make_brand, make_brand_token, make_session


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
