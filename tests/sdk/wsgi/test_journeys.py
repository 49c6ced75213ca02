"""Use cases of a browser in Flask and Django applications, with the real server behind them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from keystead.users.model import User
from keystead_client.wsgi.middleware import KeysteadMiddleware, read_environ
from tests.clocks import ManualClock
from tests.sdk.site import ADDRESS, AUTH, REFRESH, set_cookies
from tests.sdk.test_middleware_outage import OfflineVerifier
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


def test_the_environ_is_read_as_the_bytes_that_were_sent() -> None:
    request = read_environ(
        {
            "wsgi.url_scheme": "https",
            "HTTP_HOST": "app.example.com",
            "HTTP_X_FORWARDED_FOR": "203.0.113.1",
            "HTTP_COOKIE": "a=1; b=2",
            "HTTP_ORIGIN": "https://app.example.com",
            "SCRIPT_NAME": "/shop/",
            "PATH_INFO": "/orders/caf\u00c3\u00a9\xff",
            "REQUEST_URI": "/shop/orders/caf%C3%A9?page=%2f",
            "QUERY_STRING": "page=%2f",
            "REMOTE_ADDR": "198.51.100.23",
        }
    )
    assert (request.scheme, request.host, request.cookies) == ("https", "app.example.com", ["a=1; b=2"])
    assert request.header_names == {b"host", b"x-forwarded-for", b"cookie", b"origin"}
    assert (request.root, request.path, request.raw_path) == (
        "/shop",
        "/orders/caf\u00e9\ufffd",
        b"/shop/orders/caf%C3%A9",
    )
    assert (request.query, request.forwarded_for) == (b"page=%2f", "198.51.100.23")
    assert (request.origin, request.referer) == ("https://app.example.com", None)
    least = read_environ({"wsgi.url_scheme": "http", "REMOTE_ADDR": ""})
    assert (least.path, least.root, least.raw_path, least.query, least.address) == ("/", "", None, b"", None)


@pytest.mark.attack("A101")
def test_an_ambiguous_path_is_never_public() -> None:
    rules = KeysteadMiddleware(lambda environ, start_response: [], "https://auth.example.com")._rules
    assert rules.is_public(read_environ({"PATH_INFO": "/auth/x", "RAW_URI": "/auth/x?a=%2f"}))
    for environ in (
        {"PATH_INFO": "/auth/../orders"},
        {"PATH_INFO": "//auth/x"},
        {"PATH_INFO": "auth/x"},
        {"PATH_INFO": "/auth;x/y"},
        {"PATH_INFO": "/authors"},
        {"PATH_INFO": "/auth/x", "RAW_URI": "/auth%2fx"},
        {"PATH_INFO": "/auth/x", "REQUEST_URI": "/auth%2Fx?a"},
        {"PATH_INFO": "/auth/x", "REQUEST_URI": "/auth/x", "RAW_URI": "/orders/%2e%2e/auth/x"},
    ):
        assert not rules.is_public(read_environ(environ)), environ


@in_a_thread
def test_a_verifier_accepts_without_the_server(
    open_shop: Callable[..., Shop], make_app: Callable[..., Any], clock: ManualClock, ann: User
) -> None:
    with open_shop(make_app()).logged_in() as browser:
        cookies = dict(browser.cookies)
    verifier = OfflineVerifier(ann.id, cookies[AUTH])
    shop = open_shop(make_app(), verifier=verifier, allow_anonymous=True)
    shop.wire.is_cut = True
    with shop.browser(cookies) as browser:
        assert browser.get("/orders").json()["user"] == {"id": ann.id}
        assert shop.wire.sent == {}
        clock.advance(minutes=59, seconds=30)
        assert browser.get("/orders").status_code == 200, "the refresh fails, the token has half a minute"
        verifier.tokens = ()
        response = browser.get("/orders")
        assert (response.status_code, response.headers.get_list("set-cookie")) == (503, [])
