"""Tokens that were exchanged twice within the time for which an exchange is remembered: the newest stay."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from keystead_client import auth
from keystead_client.asgi import Receive, Scope, Send
from tests.clocks import ManualClock
from tests.sdk.site import REFRESH, Site, Wire, given_cookies, set_cookies


@pytest.mark.attack("A104")
async def test_a_late_request_is_given_the_newest_tokens(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(minutes=59, seconds=30)
    old = dict(browser.cookies)
    await browser.get("/orders")
    second = browser.cookies[REFRESH]
    await browser.post("/auth/refresh")
    assert browser.cookies[REFRESH] != second
    clock.advance(seconds=3)
    async with site.browser() as late:
        late.cookies.update(old)
        assert given_cookies(await late.get("/orders"))[REFRESH] == browser.cookies[REFRESH]
    assert site.wire.sent["refreshToken"] == 2


@pytest.mark.attack("A104")
async def test_a_slow_page_puts_no_older_tokens_back(
    site: Site, browser: httpx.AsyncClient, wire: Wire, clock: ManualClock
) -> None:
    has_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/report":
            has_asked.set()
            await may_answer.wait()
        if scope["path"] == "/auth/refresh":
            await auth.refresh_tokens()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    slow = Site(wire, clock, app)
    async with slow.browser() as same:
        same.cookies = browser.cookies
        clock.advance(minutes=59, seconds=30)
        report = asyncio.create_task(same.get("/report"))
        await has_asked.wait()
        await same.get("/orders")
        await same.post("/auth/refresh")
        newest = same.cookies[REFRESH]
        may_answer.set()
        answer = await report
        assert set_cookies(answer) == {}
        assert answer.headers["cache-control"] == "private, no-cache"
        assert same.cookies[REFRESH] == newest
        clock.advance(hours=1)
        assert (await same.get("/orders")).status_code == 200
    await slow.sdk.close()
