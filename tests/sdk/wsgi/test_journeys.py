"""Journeys of a browser through an application of Flask and of Django, with the real server behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from keystead.users.model import User
from tests.clocks import ManualClock
from tests.sdk.site import ADDRESS, AUTH, REFRESH, set_cookies
from tests.sdk.wsgi.shop import ANN, Shop, in_a_thread


@in_a_thread
def test_a_login_leads_in_and_a_logout_out(shop: Shop, ann: User) -> None:
    with shop.browser() as browser:
        away = browser.get("/orders/7?page=2")
        assert (away.status_code, away.headers["location"]) == (303, "/auth/login?redirect=/orders/7%3Fpage%3D2")
        assert away.headers["cache-control"] == "no-store"
        wrong = browser.post("/auth/login", json={**ANN, "password": "wrong horse"})
        assert (wrong.json()["code"], set_cookies(wrong)) == ("INVALID_CREDENTIALS", {})
        response = browser.post("/auth/login", json=ANN)
        assert response.json() == {"success": True, "user": response.json()["user"], "code": None}
        cookies = set_cookies(response)
        assert set(cookies) == {AUTH, REFRESH}
        assert all("HttpOnly; SameSite=Lax; Secure" in cookie for cookie in cookies.values())
        page = browser.get("/orders/7")
        assert page.json() == {"path": "/orders/7", "user": response.json()["user"]}
        assert page.json()["user"]["id"] == ann.id
        assert (page.headers["cache-control"], page.headers["vary"]) == ("private, no-cache", "Cookie")
        whoami = browser.get("/auth/whoami").json()
        assert whoami == {"logged_in": True, "token": browser.cookies[AUTH], "refresh": browser.cookies[REFRESH]}
        kept = dict(browser.cookies)
        assert browser.post("/auth/logout").json()["success"] is True
        assert dict(browser.cookies) == {}
        assert shop.wire.sent["logout"] == 1
    with shop.browser(kept) as thief:
        assert thief.get("/orders").status_code == 303


@in_a_thread
def test_a_program_gets_401_and_segments_are_whole(shop: Shop) -> None:
    with shop.browser() as browser:
        refused = browser.get("/api/orders")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
        assert browser.get("/orders", headers={"Accept": "application/json"}).status_code == 401
        assert browser.get("/authors").status_code == 303
        assert browser.get("/auth/whoami").json()["logged_in"] is False


@pytest.mark.attack("A104")
@in_a_thread
def test_threads_cause_one_refresh_and_all_get_the_new_cookies(shop: Shop, clock: ManualClock) -> None:
    with shop.logged_in() as browser:
        old = dict(browser.cookies)
    clock.advance(minutes=59, seconds=30)
    together = threading.Barrier(12)

    def ask() -> httpx.Response:
        with shop.browser(old) as tab:
            together.wait(30)
            return tab.get("/orders")

    with ThreadPoolExecutor(12) as pool:
        responses = [future.result() for future in [pool.submit(ask) for _ in range(12)]]
    assert {response.status_code for response in responses} == {200}
    assert shop.wire.sent == {"refreshToken": 1, "me": 1}
    new = {tuple(sorted(set_cookies(response).items())) for response in responses}
    assert len(new) == 1
    assert old[AUTH] not in str(new)
    assert old[REFRESH] not in str(new)


@in_a_thread
def test_a_session_that_is_over_loses_its_cookies(shop: Shop, clock: ManualClock) -> None:
    with shop.logged_in() as browser:
        shop.sdk.logout_with(browser.cookies[AUTH])
        clock.advance(seconds=2)
        response = browser.get("/orders")
        assert response.status_code == 303
        assert all("Max-Age=0" in cookie for cookie in set_cookies(response).values())
        assert dict(browser.cookies) == {}


@in_a_thread
def test_tokens_are_refreshed_when_asked(shop: Shop) -> None:
    with shop.logged_in() as browser, shop.browser() as nobody:
        old = dict(browser.cookies)
        assert browser.post("/auth/refresh").json()["success"] is True
        assert dict(browser.cookies) != old
        assert nobody.post("/auth/refresh").json()["code"] == "TOKEN_EXPIRED"


@in_a_thread
def test_while_the_server_is_away_the_cookies_stay(shop: Shop, clock: ManualClock) -> None:
    with shop.logged_in() as browser:
        cookies = dict(browser.cookies)
        clock.advance(seconds=2)
        shop.wire.is_cut = True
        page = browser.get("/orders")
        assert (page.status_code, page.headers["content-type"]) == (503, "text/plain; charset=utf-8")
        assert browser.get("/api/orders").json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert browser.get("/auth/whoami").json()["logged_in"] is False
        assert browser.get("/auth/members").status_code == 503, "a page that requires somebody cannot tell"
        assert browser.post("/auth/login", json=ANN).json()["code"] == "NETWORK_ERROR"
        assert dict(browser.cookies) == cookies
        shop.wire.is_cut = False
        assert browser.get("/orders").status_code == 200
        shop.wire.is_cut = True
        clock.advance(seconds=2)
        assert browser.post("/auth/logout").json()["code"] == "NETWORK_ERROR"
        assert dict(browser.cookies) == {}, "a logout deletes them in any case"


@in_a_thread
def test_a_stream_flows_and_is_closed_once(shop: Shop, clock: ManualClock, seen: list[str]) -> None:
    with shop.logged_in() as browser:
        clock.advance(hours=1)
        response = browser.get("/stream")
    assert response.text == "one two ann@example.com"
    assert seen == ["one ", "two ", "closed by ann@example.com"]
    assert set(set_cookies(response)) == {AUTH, REFRESH}


@in_a_thread
def test_the_applications_own_cookies_stay_and_ours_come_once(shop: Shop, clock: ManualClock, framework: str) -> None:
    with shop.logged_in() as browser:
        clock.advance(hours=1)
        response = browser.get("/own-cookies")
    cookies = set_cookies(response)
    own_session = {"flask": "session", "django": "sessionid"}[framework]
    assert set(cookies) == {"theme", own_session, AUTH, REFRESH}
    assert "chosen-by-the-application" not in cookies[AUTH]
    assert response.headers.get_list("cache-control") == ["no-store"], "no cache keeps tokens"


@pytest.mark.attack("A101")
@in_a_thread
def test_headers_of_ours_from_outside_are_stripped(shop: Shop, seen: list[str]) -> None:
    forged = {"X-Keystead-User": "admin", "x_keystead_user_id": "1", "X-Other-Keystead": "stays"}
    with shop.logged_in() as browser:
        browser.get("/orders", headers=forged)
    assert seen == ["HTTP_X_OTHER_KEYSTEAD"]


@in_a_thread
def test_the_server_learns_the_address_of_the_browser(shop: Shop, clock: ManualClock) -> None:
    with shop.logged_in() as browser:
        clock.advance(seconds=2)
        browser.get("/orders", headers={"X-Forwarded-For": "203.0.113.1"})
    assert shop.wire.addresses == {ADDRESS}
