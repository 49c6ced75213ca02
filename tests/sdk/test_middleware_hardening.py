"""The middleware against caches, foreign pages and forgotten sessions; and sessions of the standing contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from keystead.context import Server
from keystead.policy import Preset
from keystead.users.model import User
from keystead_client import auth
from keystead_client.asgi import Receive, Scope, Send
from keystead_client.errors import NetworkError, RefreshTokenInvalid, Unauthenticated
from tests.clocks import ManualClock
from tests.make import make_brand, make_user
from tests.sdk.conftest import PASSWORD
from tests.sdk.site import AUTH, REFRESH, Site, Wire, given_cookies, set_cookies

ANN = {"email": "ann@example.com", "password": PASSWORD}


async def test_no_cache_gives_a_protected_page_to_somebody_else(site: Site, browser: httpx.AsyncClient) -> None:
    page = await browser.get("/orders")
    assert (page.headers["cache-control"], page.headers["vary"]) == ("private, no-cache", "Cookie")
    baked = await browser.get("/own-cookies")
    assert (baked.headers["cache-control"], baked.headers["vary"]) == ("public, max-age=600", "Cookie")
    async with site.browser() as nobody:
        sent_away = await nobody.get("/orders")
    assert (sent_away.headers["cache-control"], sent_away.headers["vary"]) == ("no-store", "Cookie")


async def test_a_public_page_is_personal_once_it_asks_who_is_there(
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


@pytest.mark.attack("A101")
async def test_a_login_ends_the_session_that_the_browser_brought(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    before = dict(browser.cookies)
    response = await browser.post("/auth/login", json=ANN)
    assert response.json()["success"] is True
    assert site.wire.sent == {"login": 1, "logout": 1, "refreshToken": 1, "getAccessToken": 1, "me": 1}
    with pytest.raises(Unauthenticated):
        await site.sdk.me_with(before[AUTH])
    with pytest.raises(RefreshTokenInvalid):
        await site.sdk.refresh_with(before[REFRESH])
    clock.advance(seconds=2)
    assert (await browser.get("/orders")).status_code == 200


async def test_one_whose_access_token_is_over_is_ended_too(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    before = dict(browser.cookies)
    clock.advance(hours=2)
    assert (await browser.post("/auth/login", json=ANN)).json()["success"] is True
    assert site.wire.sent == {"login": 1, "refreshToken": 1, "logout": 1, "me": 1}
    with pytest.raises(RefreshTokenInvalid):
        await site.sdk.refresh_with(before[REFRESH])


@pytest.mark.parametrize("planted", ["a.b.c", "ks_rt_x", "e30.e30.e30"])
async def test_nonsense_in_the_cookies_fails_no_login(site: Site, planted: str) -> None:
    async with site.browser() as browser:
        browser.cookies.update({AUTH: planted, REFRESH: planted})
        response = await browser.post("/auth/login", json=ANN)
    assert response.json()["success"] is True
    assert planted not in given_cookies(response).values()


async def test_a_login_stands_though_the_old_session_cannot_be_ended(
    site: Site, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut(auth_token: str, *, forwarded_for: str | None = None) -> None:
        raise NetworkError("cut in between", was_sent=True)

    monkeypatch.setattr(site.sdk, "logout_with", cut)
    response = await browser.post("/auth/login", json=ANN)
    assert response.json()["success"] is True
    assert set(set_cookies(response)) == {AUTH, REFRESH}


@pytest.fixture
async def standing(site: Site, ann: User) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that holds the refresh token of a standing session, and no other."""
    tokens = await site.sdk.login_with("ann@example.com", PASSWORD, session="standing")
    async with site.browser() as browser:
        browser.cookies.update({REFRESH: tokens.refresh_token or ""})
        site.wire.sent.clear()
        yield browser


async def test_a_standing_session_is_served_and_keeps_its_refresh_token(
    site: Site, standing: httpx.AsyncClient, clock: ManualClock, ann: User
) -> None:
    refresh_token = standing.cookies[REFRESH]
    for _ in range(2):
        response = await standing.get("/orders")
        assert response.json()["user"]["id"] == ann.id
        assert given_cookies(response)[REFRESH] == refresh_token
        standing.cookies.clear()
        standing.cookies.update(given_cookies(response))
        assert set_cookies(await standing.get("/orders")) == {}
        clock.advance(minutes=20)
    assert site.wire.sent == {"refreshToken": 2, "getAccessToken": 2, "me": 2}


async def test_a_standing_session_survives_an_outage_and_ends_with_a_logout(
    site: Site, standing: httpx.AsyncClient
) -> None:
    kept = dict(standing.cookies)
    site.wire.is_cut = True
    assert (await standing.get("/orders")).status_code == 503
    assert dict(standing.cookies) == kept
    site.wire.is_cut = False
    response = await standing.post("/auth/logout")
    assert response.json()["success"] is True
    assert set(given_cookies(response).values()) == {""}
    assert (await standing.get("/orders")).status_code == 303


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
        refused = await browser.post("/auth/login", json={**ANN, "password": "wrong horse battery"})
        assert refused.json()["code"] == "INVALID_CREDENTIALS"
    await site.sdk.close()
