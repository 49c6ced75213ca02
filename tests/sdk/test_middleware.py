"""The middleware in front of an application, with the real server behind: journeys of a browser."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from keystead.users.model import User
from tests.clocks import ManualClock
from tests.sdk.site import ADDRESS, AUTH, REFRESH, Site, given_cookies, set_cookies


async def test_nobody_is_sent_to_the_login_page_and_back(site: Site) -> None:
    async with site.browser() as browser:
        response = await browser.get("/orders/7?page=2&q=a b")
    assert response.status_code == 303
    assert response.headers["location"] == "/auth/login?redirect=/orders/7%3Fpage%3D2%26q%3Da%2520b"
    assert response.headers["cache-control"] == "no-store"
    assert site.wire.sent.total() == 0


@pytest.mark.parametrize(
    ("path", "accept"), [("/api/orders", "text/html"), ("/api", "*/*"), ("/orders", "application/json")]
)
async def test_a_program_gets_401(site: Site, path: str, accept: str) -> None:
    async with site.browser() as browser:
        response = await browser.get(path, headers={"Accept": accept})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("path", "accept"), [("/apis", "*/*"), ("/orders", "text/html,application/json"), ("/orders", "*/*")]
)
async def test_a_browser_is_redirected(site: Site, path: str, accept: str) -> None:
    async with site.browser() as browser:
        assert (await browser.post(path, headers={"Accept": accept})).status_code == 303


async def test_who_is_logged_in_gets_through_and_is_known(site: Site, browser: httpx.AsyncClient, ann: User) -> None:
    response = await browser.get("/orders")
    assert response.json()["user"]["id"] == ann.id
    assert set_cookies(response) == {}
    assert site.wire.sent == {}, "what the login has just learnt is good for a second"
    assert site.wire.addresses == {ADDRESS}


async def test_a_check_is_good_for_one_second(site: Site, browser: httpx.AsyncClient, clock: ManualClock) -> None:
    clock.advance(seconds=2)
    await asyncio.gather(*(browser.get("/orders") for _ in range(20)))
    assert site.wire.sent == {"me": 1}
    clock.advance(seconds=0.5)
    await browser.get("/orders")
    assert site.wire.sent == {"me": 1}
    clock.advance(seconds=1)
    await browser.get("/orders")
    assert site.wire.sent == {"me": 2}


async def test_a_clock_that_is_turned_back_keeps_no_old_answer(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(minutes=-5)
    await browser.get("/orders")
    assert site.wire.sent == {"me": 1}


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
    # One that was sent before and arrives a little later still carries the old ones.
    clock.advance(seconds=3)
    late = await _with(site, old)
    assert set_cookies(late)[REFRESH] == set_cookies(responses[0])[REFRESH]
    assert site.wire.sent["refreshToken"] == 1


async def test_one_browser_that_hangs_up_takes_the_refresh_from_nobody(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(minutes=59, seconds=30)
    site.wire.is_used.clear()
    first = asyncio.create_task(browser.get("/orders"))
    second = asyncio.create_task(browser.get("/orders"))
    await site.wire.is_used.wait()
    first.cancel()
    assert (await second).status_code == 200
    assert site.wire.sent["refreshToken"] == 1


async def test_who_lost_the_new_cookies_is_not_thrown_out(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(hours=1, seconds=10)
    old = dict(browser.cookies)
    assert (await _with(site, old)).status_code == 200
    clock.advance(minutes=2)
    again = await _with(site, old)
    assert again.status_code == 200
    assert site.wire.sent["refreshToken"] == 2
    assert (await _with(site, given_cookies(again))).status_code == 200


@pytest.mark.attack("A104")
async def test_reuse_ends_in_a_redirect_with_cookies_deleted_and_no_loop(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    old = dict(browser.cookies)
    clock.advance(hours=1)
    first = given_cookies(await _with(site, old))
    clock.advance(hours=1)
    await _with(site, first)
    clock.advance(hours=1)
    site.wire.sent.clear()
    thrown_out = await _with(site, old)
    assert thrown_out.status_code == 303
    assert set(set_cookies(thrown_out)) == {AUTH, REFRESH}
    assert all("Max-Age=0" in cookie for cookie in set_cookies(thrown_out).values())
    assert site.wire.sent == {"refreshToken": 1}


async def test_a_revoked_session_is_found_out_at_once(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    await site.sdk.logout_with(browser.cookies[AUTH])
    clock.advance(seconds=2)
    site.wire.sent.clear()
    response = await browser.get("/orders")
    assert response.status_code == 303
    assert dict(browser.cookies) == {}
    assert site.wire.sent == {"me": 1, "refreshToken": 1, "getAccessToken": 1}, "it might have been a standing one"


async def test_the_refresh_cookie_alone_is_enough(site: Site, browser: httpx.AsyncClient) -> None:
    assert (await _with(site, {REFRESH: browser.cookies[REFRESH]})).status_code == 200
    assert (await _with(site, {AUTH: browser.cookies[AUTH]})).status_code == 200


@pytest.mark.attack("A101")
@pytest.mark.parametrize("value", ["nonsense", "ks_rt_x", "a.b.c", "a" * 5000, '"quoted"', "caf\u00e9"])
async def test_nonsense_in_cookies_is_nobody(site: Site, value: str) -> None:
    async with site.browser() as browser:
        cookie = f"{AUTH}={value}; {REFRESH}={value}".encode()
        assert (await browser.get("/orders", headers=[(b"Cookie", cookie)])).status_code == 303


@pytest.mark.attack("A101")
async def test_a_second_cookie_of_our_name_makes_both_absent(site: Site, browser: httpx.AsyncClient) -> None:
    planted = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    async with site.browser() as victim:
        for cookie in (f"{planted}; {planted}", f"{AUTH}=x; {REFRESH}=x; {planted}"):
            assert (await victim.get("/orders", headers={"Cookie": cookie})).status_code == 303
        assert (await victim.get("/orders", headers={"Cookie": f"{planted}; {AUTH}=x"})).status_code == 200


async def test_headers_of_ours_from_outside_are_stripped(site: Site, browser: httpx.AsyncClient) -> None:
    forged = {"X-Keystead-User": "admin", "x-keystead-user-id": "1", "X_Keystead_User": "admin"}
    await browser.get("/orders", headers={**forged, "X-Other-Keystead": "stays"})
    assert site.seen_headers == ["x-other-keystead"]


async def test_the_browser_cannot_choose_the_address_that_is_forwarded(site: Site, browser: httpx.AsyncClient) -> None:
    site.clock.advance(seconds=2)
    await browser.get("/orders", headers={"X-Forwarded-For": "203.0.113.1"})
    assert site.wire.addresses == {ADDRESS}


async def _with(site: Site, cookies: dict[str, str]) -> httpx.Response:
    async with site.browser() as browser:
        browser.cookies.update(cookies)
        return await browser.get("/orders")
