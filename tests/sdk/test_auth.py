"""The functions of ``keystead_client.auth``, called by an application while it serves a request."""

from __future__ import annotations

import logging

import httpx
import pytest

from keystead.users.model import User
from keystead_client import auth
from keystead_client.middleware import Receive, Scope, Send
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.sdk.site import AUTH, REFRESH, Site, Wire, set_cookies

ANN = {"email": "ann@example.com", "password": PASSWORD}


async def test_login_sets_both_cookies_and_returns_the_user(site: Site, ann: User) -> None:
    async with site.browser() as browser:
        response = await browser.post("/auth/login", json=ANN)
        assert response.json()["success"] is True
        assert (response.json()["user"]["id"], response.json()["user"]["email"]) == (ann.id, "ann@example.com")
        assert set(set_cookies(response)) == {AUTH, REFRESH}
        assert (await browser.get("/auth/whoami")).json() == {"logged_in": True, "token": browser.cookies[AUTH]}
        assert (await browser.get("/auth/members")).text == ann.id


@pytest.mark.parametrize(
    "wrong", [{"password": "wrong horse battery"}, {"email": "ann"}, {"email": "ann@localhost"}, {"password": ""}]
)
async def test_a_failed_login_leaves_the_session(site: Site, browser: httpx.AsyncClient, wrong: dict[str, str]) -> None:
    response = await browser.post("/auth/login", json={**ANN, **wrong})
    assert response.json() == {"success": False, "user": None, "code": "INVALID_CREDENTIALS"}
    assert set_cookies(response) == {}
    assert (await browser.get("/orders")).status_code == 200


@pytest.mark.parametrize("age", [0, 2])
async def test_logout_ends_the_session_on_the_server_too(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock, age: int
) -> None:
    clock.advance(hours=age)
    kept = dict(browser.cookies)
    response = await browser.post("/auth/logout")
    assert response.json()["success"] is True
    assert all("Max-Age=0" in cookie for cookie in set_cookies(response).values())
    assert dict(browser.cookies) == {}
    assert site.wire.sent == {"logout": 1}
    browser.cookies.update(kept)
    assert (await browser.get("/orders")).status_code == 303, "immediately, although the check was cached for a second"


async def test_login_and_logout_without_the_server(site: Site, browser: httpx.AsyncClient, clock: ManualClock) -> None:
    site.wire.is_cut = True
    assert (await browser.post("/auth/login", json=ANN)).json()["code"] == "NETWORK_ERROR"
    assert len(browser.cookies) == 2
    assert (await browser.post("/auth/logout")).json()["code"] == "NETWORK_ERROR"
    assert dict(browser.cookies) == {}
    site.wire.sent.clear()
    without_session = await browser.post("/auth/logout")
    assert (without_session.json()["success"], set_cookies(without_session), site.wire.sent) == (True, {}, {})


async def test_tokens_are_refreshed_when_asked(site: Site, browser: httpx.AsyncClient, clock: ManualClock) -> None:
    old = dict(browser.cookies)
    clock.advance(seconds=5)
    assert (await browser.post("/auth/refresh")).json()["success"] is True
    assert {**browser.cookies} != old
    assert site.wire.sent == {"refreshToken": 1, "me": 1}
    async with site.browser() as stranger:
        assert (await stranger.post("/auth/refresh")).json()["code"] == "TOKEN_EXPIRED"


async def test_require_auth_redirects_or_raises(site: Site) -> None:
    async with site.browser() as browser:
        response = await browser.get("/auth/members?tab=2")
        assert response.status_code == 303
        assert response.headers["location"] == "/auth/login?redirect=/auth/members%3Ftab%3D2"
        assert (await browser.get("/auth/members?raise")).status_code == 418
        assert (await browser.get("/auth/whoami")).json() == {"logged_in": False, "token": None}
    with pytest.raises(ValueError, match="mode"):
        await auth.require_auth(mode="rais")  # type: ignore[arg-type]


async def test_a_cookie_alone_is_no_login(site: Site) -> None:
    async with site.browser() as browser:
        browser.cookies.update({AUTH: "a.b.c"})
        response = await browser.get("/auth/whoami")
    assert response.json()["logged_in"] is False
    assert all("Max-Age=0" in cookie for cookie in set_cookies(response).values())


async def test_cookies_cannot_be_set_once_the_response_has_begun(wire: Wire, clock: ManualClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for late in (auth.logout(), auth.login("ann@example.com", PASSWORD), auth.refresh_tokens()):
            with pytest.raises(RuntimeError, match="has begun"):
                await late
        await send({"type": "http.response.body", "body": b""})

    site = Site(wire, clock, app)
    async with site.browser() as browser:
        assert (await browser.get("/auth/x")).status_code == 200
    assert wire.sent == {}
    await site.sdk.close()


@pytest.mark.attack("A101")
async def test_no_token_is_logged_or_shown(
    browser: httpx.AsyncClient, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = list(dict(browser.cookies).values())
    clock.advance(hours=1)
    await browser.get("/orders")
    tokens += dict(browser.cookies).values()
    result = auth.AuthResult(True, {"id": "1"}, tokens[0], tokens[1])
    written = repr(result) + "".join(record.getMessage() for record in caplog.records if record.name != "httpcore")
    assert not [token for token in tokens if token in written]
