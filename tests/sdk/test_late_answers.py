"""Requests that left with the cookies of a session that a login has replaced meanwhile, in another tab."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.clocks import ManualClock
from tests.sdk.conftest import PASSWORD
from tests.sdk.site import AUTH, REFRESH, Site, set_cookies

ANN = {"email": "ann@example.com", "password": PASSWORD}


@pytest.fixture
async def late(site: Site, browser: httpx.AsyncClient, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    """A tab with the cookies of before the login."""
    async with site.browser() as late:
        late.cookies.update(dict(browser.cookies))
        clock.advance(seconds=5)
        assert (await browser.post("/auth/login", json=ANN)).json()["success"] is True
        clock.advance(seconds=2)
        yield late


@pytest.mark.parametrize("path", ["/orders", "/api/orders", "/auth/whoami"])
async def test_a_late_answer_deletes_no_cookies(late: httpx.AsyncClient, path: str) -> None:
    response = await late.get(path)
    assert response.status_code in (303, 401, 200)
    assert set_cookies(response) == {}


async def test_a_session_that_had_ended_before_is_no_other_matter(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    before = dict(browser.cookies)
    await site.sdk.logout_with(browser.cookies[AUTH])
    clock.advance(seconds=2)
    assert (await browser.post("/auth/login", json=ANN)).json()["success"] is True
    async with site.browser() as late:
        late.cookies.update(before)
        assert set_cookies(await late.get("/api/orders")) == {}
    assert (await browser.get("/orders")).status_code == 200


async def test_what_has_been_refreshed_replaces_no_newer_cookies(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(hours=1)
    before = dict(browser.cookies)
    async with site.browser() as other:
        other.cookies.update(before)
        assert set(set_cookies(await other.get("/orders"))) == {AUTH, REFRESH}
    assert (await browser.post("/auth/login", json=ANN)).json()["success"] is True
    async with site.browser() as late:
        late.cookies.update(before)
        assert set_cookies(await late.get("/orders")) == {}


async def test_who_logs_in_or_out_with_the_cookies_of_before_is_heard(late: httpx.AsyncClient) -> None:
    before = dict(late.cookies)
    assert set(set_cookies(await late.post("/auth/login", json=ANN))) == {AUTH, REFRESH}
    late.cookies.clear()
    late.cookies.update(before)
    response = await late.post("/auth/logout")
    assert response.json()["success"] is True
    assert all("Max-Age=0" in cookie for cookie in set_cookies(response).values())
    assert set(set_cookies(response)) == {AUTH, REFRESH}


async def test_after_a_minute_nothing_is_late(late: httpx.AsyncClient, clock: ManualClock) -> None:
    clock.advance(seconds=60)
    cookies = set_cookies(await late.get("/orders"))
    assert set(cookies) == {AUTH, REFRESH}
    assert all("Max-Age=0" in cookie for cookie in cookies.values())
