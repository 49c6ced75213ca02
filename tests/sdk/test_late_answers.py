"""Responses that come late: older cookies never replace newer ones, and no refresh is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse

from keystead_client import auth
from keystead_client.middleware import App, Receive, Scope, Send
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.sdk.site import AUTH, REFRESH, Site, Wire, set_cookies

ANN = {"email": "ann@example.com", "password": PASSWORD}
START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b""}


@asynccontextmanager
async def browsing(site: Site, app: App, browser: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """The same browser at another application."""
    other = Site(site.wire, site.clock, app)
    async with other.browser() as same:
        same.cookies = browser.cookies
        yield same
    await other.sdk.close()


@pytest.fixture
async def late(site: Site, browser: httpx.AsyncClient, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    """A tab with the cookies of before a login in another tab."""
    async with site.browser() as late:
        late.cookies.update(dict(browser.cookies))
        clock.advance(seconds=5)
        assert (await browser.post("/auth/login", json=ANN)).json()["success"] is True
        clock.advance(seconds=2)
        yield late


@pytest.mark.parametrize("path", ["/orders", "/api/orders", "/auth/whoami"])
async def test_a_late_response_deletes_no_cookies(late: httpx.AsyncClient, path: str) -> None:
    response = await late.get(path)
    assert response.status_code in (303, 401, 200)
    assert set_cookies(response) == {}


async def test_a_login_or_logout_with_old_cookies_counts(late: httpx.AsyncClient) -> None:
    before = dict(late.cookies)
    assert set(set_cookies(await late.post("/auth/login", json=ANN))) == {AUTH, REFRESH}
    late.cookies.clear()
    late.cookies.update(before)
    response = await late.post("/auth/logout")
    assert response.json()["success"] is True
    assert set(set_cookies(response)) == {AUTH, REFRESH}
    assert all("Max-Age=0" in cookie for cookie in set_cookies(response).values())


async def test_after_a_minute_no_response_is_late(late: httpx.AsyncClient, clock: ManualClock) -> None:
    clock.advance(seconds=60)
    cookies = set_cookies(await late.get("/orders"))
    assert set(cookies) == {AUTH, REFRESH}
    assert all("Max-Age=0" in cookie for cookie in cookies.values())


@pytest.mark.parametrize("was_revoked", [False, True])
async def test_a_response_of_before_a_login_sets_no_cookies(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock, was_revoked: bool
) -> None:
    """Neither those of a refresh nor the deletion of a session that had ended before."""
    before = dict(browser.cookies)
    if was_revoked:
        await site.sdk.logout_with(browser.cookies[AUTH])
        clock.advance(seconds=2)
    else:
        clock.advance(hours=1)
        async with site.browser() as other:
            other.cookies.update(before)
            assert set(set_cookies(await other.get("/orders"))) == {AUTH, REFRESH}
    assert (await browser.post("/auth/login", json=ANN)).json()["success"] is True
    async with site.browser() as late:
        late.cookies.update(before)
        assert set_cookies(await late.get("/orders")) == {}
    assert (await browser.get("/orders")).status_code == 200


@pytest.mark.attack("A104")
@pytest.mark.parametrize("is_slow", [False, True])
async def test_older_tokens_never_replace_newer_ones(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock, is_slow: bool
) -> None:
    """Of a page that took long, and of a request that arrived late: both with tokens that were exchanged since."""
    has_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/report":
            has_asked.set()
            await may_answer.wait()
        if scope["path"] == "/auth/refresh":
            await auth.refresh_tokens()
        await send(START)
        await send(END)

    async with browsing(site, app, browser) as same:
        clock.advance(minutes=59, seconds=30)
        old = dict(browser.cookies)
        report = asyncio.create_task(same.get("/report"))
        await has_asked.wait()
        await same.get("/orders")
        await same.post("/auth/refresh")
        newest = same.cookies[REFRESH]
        may_answer.set()
        answer = await report
        if not is_slow:
            clock.advance(seconds=3)
            answer = await same.get("/orders", headers={"Cookie": "; ".join(f"{n}={v}" for n, v in old.items())})
        assert (answer.status_code, set_cookies(answer)) == (200, {})
        assert answer.headers["cache-control"] == "private, no-cache"
        assert same.cookies[REFRESH] == newest
        assert site.wire.sent["refreshToken"] == 2
        clock.advance(hours=1)
        assert (await same.get("/orders")).status_code == 200


async def _token() -> object:
    return auth.get_auth_token()


@pytest.mark.attack("A104")
@pytest.mark.parametrize("ask", [auth.get_user, auth.require_auth, _token])
async def test_a_public_stream_must_ask_for_the_user_before_it_begins(
    site: Site, browser: httpx.AsyncClient, wire: Wire, clock: ManualClock, ask: Callable[[], Awaitable[object]]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/auth/early":
            await ask()
        if scope["path"] == "/auth/background":
            await PlainTextResponse("", background=BackgroundTask(ask))(scope, receive, send)
            return
        await send(START)
        await ask()
        await send(END)

    clock.advance(hours=1)
    async with browsing(site, app, browser) as same:
        for path in ("/auth/late", "/auth/background"):
            with pytest.raises(RuntimeError, match="the response has begun"):
                await same.get(path)
        assert wire.sent == {}
        early = await same.get("/auth/early")
        assert (early.status_code, early.headers["vary"]) == (200, "Cookie")
