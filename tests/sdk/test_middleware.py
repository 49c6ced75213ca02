"""The middleware in front of an application, with the real server behind it: use cases of a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from keystead.context import Server
from keystead.policy import Preset
from keystead.users.model import User
from keystead_client import auth
from keystead_client.errors import NetworkError, RefreshTokenInvalid, Unauthenticated
from keystead_client.middleware import Receive, Scope, Send
from tests.clocks import ManualClock
from tests.make import PASSWORD, make_brand, make_user
from tests.sdk.site import ADDRESS, AUTH, REFRESH, Site, Wire, given_cookies, set_cookies

ANN = {"email": "ann@example.com", "password": PASSWORD}


async def with_cookies(site: Site, cookies: dict[str, str]) -> httpx.Response:
    async with site.browser() as browser:
        browser.cookies.update(cookies)
        return await browser.get("/orders")


async def test_a_stranger_is_sent_to_the_login_page(site: Site) -> None:
    async with site.browser() as browser:
        response = await browser.get("/orders/7?page=2&q=a b")
        assert response.status_code == 303
        assert response.headers["location"] == "/auth/login?redirect=/orders/7%3Fpage%3D2%26q%3Da%2520b"
        assert (response.headers["cache-control"], response.headers["vary"]) == ("no-store", "Cookie")
        for path, accept in [("/apis", "*/*"), ("/orders", "text/html,application/json"), ("/orders", "*/*")]:
            assert (await browser.post(path, headers={"Accept": accept})).status_code == 303
        for path, accept in [("/api/orders", "text/html"), ("/api", "*/*"), ("/orders", "application/json")]:
            program = await browser.get(path, headers={"Accept": accept})
            assert (program.status_code, program.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
    assert site.wire.sent.total() == 0


async def test_a_logged_in_user_gets_through(site: Site, browser: httpx.AsyncClient, ann: User) -> None:
    response = await browser.get("/orders")
    assert response.json()["user"]["id"] == ann.id
    assert set_cookies(response) == {}
    assert (response.headers["cache-control"], response.headers["vary"]) == ("private, no-cache", "Cookie")
    assert site.wire.sent == {}, "the check of the login is cached for a second"
    for cookies in ({REFRESH: browser.cookies[REFRESH]}, {AUTH: browser.cookies[AUTH]}):
        assert (await with_cookies(site, cookies)).status_code == 200


async def test_a_check_is_cached_for_one_second(site: Site, browser: httpx.AsyncClient, clock: ManualClock) -> None:
    clock.advance(seconds=2)
    await asyncio.gather(*(browser.get("/orders") for _ in range(20)))
    assert site.wire.sent == {"me": 1}
    clock.advance(seconds=0.5)
    await browser.get("/orders")
    assert site.wire.sent == {"me": 1}
    for seconds in (1, -300):
        site.wire.sent.clear()
        clock.advance(seconds=seconds)
        await browser.get("/orders")
        assert site.wire.sent == {"me": 1}, "not longer, also when the clock was turned back"


@pytest.mark.attack("A104")
async def test_fifty_parallel_requests_cause_one_refresh_and_all_get_the_new_cookies(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(minutes=59, seconds=30)
    old = dict(browser.cookies)
    responses = await asyncio.gather(*(browser.get("/orders") for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    assert site.wire.sent == {"refreshToken": 1, "me": 1}
    new = {tuple(sorted(set_cookies(response).items())) for response in responses}
    assert len(new) == 1
    assert browser.cookies[AUTH] != old[AUTH]
    assert browser.cookies[REFRESH] != old[REFRESH]
    # A request that was sent before and arrives later has the old cookies.
    clock.advance(seconds=3)
    late = await with_cookies(site, old)
    assert set_cookies(late)[REFRESH] == set_cookies(responses[0])[REFRESH]
    assert site.wire.sent["refreshToken"] == 1


async def test_a_browser_that_lost_the_new_cookies_stays_logged_in(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(hours=1, seconds=10)
    old = dict(browser.cookies)
    assert (await with_cookies(site, old)).status_code == 200
    clock.advance(minutes=2)
    again = await with_cookies(site, old)
    assert again.status_code == 200
    assert site.wire.sent["refreshToken"] == 2
    assert (await with_cookies(site, given_cookies(again))).status_code == 200


@pytest.mark.attack("A104")
async def test_reuse_ends_in_a_redirect_with_cookies_deleted_and_no_loop(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    old = dict(browser.cookies)
    clock.advance(hours=1)
    first = given_cookies(await with_cookies(site, old))
    clock.advance(hours=1)
    await with_cookies(site, first)
    clock.advance(hours=1)
    site.wire.sent.clear()
    rejected = await with_cookies(site, old)
    assert rejected.status_code == 303
    assert set(set_cookies(rejected)) == {AUTH, REFRESH}
    assert all("Max-Age=0" in cookie for cookie in set_cookies(rejected).values())
    assert site.wire.sent == {"refreshToken": 1}


async def test_a_revoked_session_ends_within_a_second(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    await site.sdk.logout_with(browser.cookies[AUTH])
    clock.advance(seconds=2)
    site.wire.sent.clear()
    response = await browser.get("/orders")
    assert response.status_code == 303
    assert dict(browser.cookies) == {}
    assert site.wire.sent == {"me": 1, "refreshToken": 1, "getAccessToken": 1}, "it might have been a standing one"


@pytest.mark.attack("A101")
@pytest.mark.parametrize("value", ["nonsense", "ks_rt_x", "a.b.c", "a" * 5000, '"quoted"', "caf\u00e9"])
async def test_nonsense_in_cookies_is_rejected_and_fails_no_login(site: Site, value: str) -> None:
    async with site.browser() as browser:
        headers = [(b"Cookie", f"{AUTH}={value}; {REFRESH}={value}".encode())]
        assert (await browser.get("/orders", headers=headers)).status_code == 303
        response = await browser.post("/auth/login", json=ANN, headers=headers)
    assert response.json()["success"] is True
    assert value not in given_cookies(response).values()


async def test_a_browser_cannot_forge_our_headers_or_its_address(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(seconds=2)
    forged = {"X-Keystead-User": "admin", "x-keystead-user-id": "1", "X_Keystead_User": "admin"}
    await browser.get("/orders", headers={**forged, "X-Other-Keystead": "stays", "X-Forwarded-For": "203.0.113.1"})
    assert site.seen_headers == ["x-other-keystead"]
    assert site.wire.addresses == {ADDRESS}


# ------------------------------------------------------------------------------------------------------------- caching


async def test_a_public_page_is_private_once_it_asks_for_the_user(
    site: Site, browser: httpx.AsyncClient, wire: Wire, clock: ManualClock
) -> None:
    assert (await browser.get("/auth/whoami")).headers["cache-control"] == "private, no-cache"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/auth/style.css":
            auth.get_auth_token()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"vary", b"Accept")]})
        await send({"type": "http.response.body", "body": b""})

    plain = Site(wire, clock, app)
    async with plain.browser() as same:
        assert dict((await same.get("/auth/style.css")).headers) == {"vary": "Accept"}
        page = await same.get("/auth/page")
        assert dict(page.headers) == {"vary": "Accept, Cookie", "cache-control": "private, no-cache"}
    await plain.sdk.close()


async def test_the_applications_own_cookies_stay_and_ours_come_once(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    page = await browser.get("/own-cookies")
    assert (page.headers["cache-control"], page.headers["vary"]) == ("public, max-age=600", "Cookie")
    clock.advance(hours=1)
    response = await browser.get("/own-cookies")
    cookies = set_cookies(response)
    assert set(cookies) == {"theme", AUTH, REFRESH}
    assert "chosen-by-the-application" not in cookies[AUTH]
    assert response.headers.get_list("cache-control") == ["no-store"], "no cache keeps tokens"


# ------------------------------------------------------------------------------------------------- ending old sessions


@pytest.mark.attack("A101")
@pytest.mark.parametrize("age", [0, 2])
async def test_a_login_ends_the_session_of_the_cookies_and_costs_three_calls(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock, age: int
) -> None:
    """Whether its access token has expired or not."""
    before = dict(browser.cookies)
    clock.advance(hours=age)
    response = await browser.post("/auth/login", json=ANN)
    assert response.json()["success"] is True
    assert not set(given_cookies(response).values()) & set(before.values())
    assert site.wire.sent == {"login": 1, "logout": 1, "me": 1}
    with pytest.raises(Unauthenticated):
        await site.sdk.me_with(before[AUTH])
    with pytest.raises(RefreshTokenInvalid):
        await site.sdk.refresh_with(before[REFRESH])
    clock.advance(seconds=2)
    assert (await browser.get("/orders")).status_code == 200


@pytest.mark.attack("A101")
@pytest.mark.parametrize("path", ["/auth/login", "/auth/logout"])
@pytest.mark.parametrize("planted", ["a.b.c", "reversed", ""])
async def test_a_planted_access_token_saves_no_old_session(
    site: Site, browser: httpx.AsyncClient, path: str, planted: str
) -> None:
    refresh_token = browser.cookies[REFRESH]
    header, payload, signature = browser.cookies[AUTH].split(".")
    auth_token = f"{header}.{payload}.{signature[::-1]}" if planted == "reversed" else planted
    async with site.browser() as victim:
        cookie = f"{AUTH}={auth_token}; {REFRESH}={refresh_token}"
        assert (await victim.post(path, json=ANN, headers={"Cookie": cookie})).json()["success"] is True
    assert (await with_cookies(site, {REFRESH: refresh_token})).status_code == 303


async def test_a_login_succeeds_although_the_old_session_cannot_be_ended(
    site: Site, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut(auth_token: str | None = None, **options: str | None) -> None:
        raise NetworkError("cut in between", was_sent=True)

    monkeypatch.setattr(site.sdk, "logout_with", cut)
    response = await browser.post("/auth/login", json=ANN)
    assert response.json()["success"] is True
    assert set(set_cookies(response)) == {AUTH, REFRESH}


# --------------------------------------------------------------------------------------------------- standing sessions


@pytest.fixture
async def standing(site: Site, ann: User) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has only the refresh token of a standing session."""
    tokens = await site.sdk.login_with("ann@example.com", PASSWORD, session="standing")
    async with site.browser() as browser:
        browser.cookies.update({REFRESH: tokens.refresh_token or ""})
        site.wire.sent.clear()
        yield browser


async def test_a_standing_session_keeps_its_refresh_token_and_ends_with_a_logout(
    site: Site, standing: httpx.AsyncClient, clock: ManualClock, ann: User
) -> None:
    refresh_token = standing.cookies[REFRESH]
    site.wire.is_cut = True
    assert (await standing.get("/orders")).status_code == 503
    assert standing.cookies[REFRESH] == refresh_token
    site.wire.is_cut = False
    site.wire.sent.clear()
    for _ in range(2):
        response = await standing.get("/orders")
        assert response.json()["user"]["id"] == ann.id
        assert given_cookies(response)[REFRESH] == refresh_token
        standing.cookies.clear()
        standing.cookies.update(given_cookies(response))
        assert set_cookies(await standing.get("/orders")) == {}
        clock.advance(minutes=20)
    assert site.wire.sent == {"refreshToken": 2, "getAccessToken": 2, "me": 2}
    assert (await standing.post("/auth/logout")).json()["success"] is True
    assert (await with_cookies(site, {REFRESH: refresh_token})).status_code == 303


async def test_a_brand_without_pair_sessions_has_standing_ones_in_its_cookies(
    server: Server, wire: Wire, clock: ManualClock
) -> None:
    brand = await make_brand(server, "standingStones", preset=Preset.standing)
    await make_user(server, brand, password=PASSWORD)
    site = Site(wire, clock, brand=brand.name)
    async with site.browser() as browser:
        response = await browser.post("/auth/login", json=ANN)
        assert response.json()["success"] is True
        assert set(set_cookies(response)) == {AUTH, REFRESH}
        assert wire.sent == {"login": 2, "getAccessToken": 1, "me": 1}
        clock.advance(hours=1)
        assert (await browser.get("/orders")).json()["user"]["email"] == ANN["email"]
    await site.sdk.close()
