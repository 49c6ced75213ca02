"""A26, A27, A29: malformed refresh tokens, and ending sessions by refresh tokens."""

from __future__ import annotations

import dataclasses

import pytest

from keystead.authentication.refresh import get_access_token as use_case_access_token
from keystead.authentication.refresh import refresh_pair
from keystead.brands import service as brands
from keystead.context import ActiveBrand, Server
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.errors import RefreshTokenInvalid
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
from tests.make import make_access_token, make_brand, make_brand_token, make_context, make_session


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


async def test_logout_in_a_disabled_brand_holds_when_the_brand_is_enabled_again(
    server: Server, api: Api, brand: ActiveBrand, opened: Opened
) -> None:
    raw = opened.refresh_token.reveal()
    await brands.set_disabled(make_context(server), brand.name, True)
    assert_logged_out(await api.send(LOGOUT, {"token": raw}))
    await brands.set_disabled(make_context(server), brand.name, False)
    assert_error(await send_refresh(api, raw), "REFRESH_TOKEN_INVALID")


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


def _bad_shapes(good: str) -> dict[str, str]:
    other = "A" if good[-1] != "A" else "B"
    shapes = {
        "truncated": good[:-1], "half": good[: len(good) // 2], "prefix alone": "ks_rt_", "empty": "",
        "longer": good + "0",
        "check sum": good[:-1] + other, "one letter": good[:20] + ("x" if good[20] != "x" else "y") + good[21:],
        "other case": good.swapcase(), "upper prefix": "KS_RT_" + good[6:], "no prefix": good[6:], "space": good + " ",
        "newline": good + "\n", "in front": " " + good, "quoted": f"'{good}'", "unknown kind": "ks_zz_" + good[6:],
        "not base62": good[:20] + "-" + good[21:], "wide letters": "ks_rt_" + "é" * 49,
        "full width": good[:-1] + "\uff10",
        "129 characters": good + "0" * (129 - len(good)), "60,000 characters": "ks_rt_" + "0" * 60_000,
        "a JWT": "e.y.J",
        "sql": "ks_rt_' OR 1=1--", "the greatest": "ks_rt_" + "z" * 49,
    }  # fmt: skip
    # Every other kind there is, well-formed; and the refresh token with the prefix of each.
    for kind in SecretKind:
        if kind is not SecretKind.refresh:
            shapes[f"a {kind.name}"] = secrets.generate(kind).reveal()
            shapes[f"as a {kind.name}"] = kind.prefix + good[6:]
    return shapes


@pytest.mark.attack("A27")
async def test_a_malformed_refresh_token_costs_no_query(
    server: Server, api: Api, brand: ActiveBrand, opened: Opened, watched: WatchedDatabase
) -> None:
    """It is refused by its length, prefix, alphabet or check sum; the whole request asks the database nothing."""
    ctx = dataclasses.replace(make_context(server, brand), brand_is_default=True)
    shapes = _bad_shapes(opened.refresh_token.reveal())
    for case, token in shapes.items():
        watched.forget()
        with pytest.raises(RefreshTokenInvalid):
            await refresh_pair(ctx, token)
        with pytest.raises(RefreshTokenInvalid):
            await use_case_access_token(ctx, token, None)
        assert watched.asked == [], case
        assert_error(await send_refresh(api, token), "REFRESH_TOKEN_INVALID", case)
        assert watched.asked == [], case
        assert_error(await send_get_access_token(api, token), "REFRESH_TOKEN_INVALID", case)
        assert watched.asked == [], case
    with pytest.raises(RefreshTokenInvalid):
        await refresh_pair(ctx, "ks_rt_" + "0" * 1_000_000)
    watched.forget()
    answer = await send_refresh(api, "ks_rt_" + "0" * 1_000_000)
    assert (answer.status, watched.asked) == (413, [])
    assert await refresh(api, opened.refresh_token.reveal())


@pytest.mark.attack("A27")
async def test_a_token_of_each_kind_is_rejected_by_the_other_operation(
    server: Server, api: Api, brand: ActiveBrand, ann: User
) -> None:
    """And an unknown one, however well-formed, says no more."""
    pair = (await make_session(server, brand, ann.id)).refresh_token.reveal()
    standing = (await make_session(server, brand, ann.id, SessionKind.standing)).refresh_token.reveal()
    unknown = secrets.generate(SecretKind.refresh).reveal()
    answers = [
        await send_refresh(api, standing),
        await send_refresh(api, unknown),
        await send_get_access_token(api, pair),
        await send_get_access_token(api, unknown),
    ]
    for answer in answers:
        assert_error(answer, "REFRESH_TOKEN_INVALID")
        assert "unauthenticated" in answer.errors[0]["message"].lower()
    assert len({answer.errors[0]["message"] for answer in answers}) == 1
    assert await get_access_token(api, standing)
    assert await refresh(api, pair)
