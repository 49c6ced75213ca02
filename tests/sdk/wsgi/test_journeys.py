"""Use cases of a browser in Flask and Django applications, with the real server behind them."""

from __future__ import annotations

import logging
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
from tests.sdk.wsgi.shop import ANN, Shop, in_a_thread, seen

LOCATION = "/auth/login?redirect=/auth/members%3Ftab%3D2"
CROSS = {"Sec-Fetch-Site": "cross-site", "Origin": "https://else.example"}


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Errors that frameworks have logged."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@in_a_thread
def test_login_pages_and_logout(shop: Shop, ann: User, clock: ManualClock) -> None:
    with shop.browser() as browser:
        away = browser.get("/orders/7?page=2")
        assert (away.status_code, away.headers["location"]) == (303, "/auth/login?redirect=/orders/7%3Fpage%3D2")
        assert browser.get("/api/orders").json()["error"]["code"] == "UNAUTHENTICATED"
        wrong = browser.post("/auth/login", json={**ANN, "password": "wrong horse"})
        assert (wrong.json()["code"], set_cookies(wrong)) == ("INVALID_CREDENTIALS", {})
        response = browser.post("/auth/login", json=ANN)
        cookies = set_cookies(response)
        assert (response.json()["success"], set(cookies)) == (True, {AUTH, REFRESH})
        assert all("HttpOnly; SameSite=Lax; Secure" in cookie for cookie in cookies.values())
        page = browser.get("/orders/7")
        assert page.json() == {"path": "/orders/7", "user": response.json()["user"]}
        assert page.json()["user"]["id"] == ann.id
        assert (page.headers["cache-control"], page.headers["vary"]) == ("private, no-cache", "Cookie")
        whoami = browser.get("/auth/whoami").json()
        assert whoami == {"logged_in": True, "token": browser.cookies[AUTH], "refresh": browser.cookies[REFRESH]}
        assert browser.post("/auth/refresh").json()["success"] is True
        kept = dict(browser.cookies)
        assert kept[REFRESH] != whoami["refresh"]
        assert browser.post("/auth/logout").json()["success"] is True
        assert (dict(browser.cookies), shop.wire.sent["logout"]) == ({}, 1)
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
def test_cookies_stay_while_the_server_is_away(
    shop: Shop, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with shop.logged_in() as browser:
        cookies = dict(browser.cookies)
        clock.advance(seconds=2)
        shop.wire.is_cut = True
        page = browser.get("/orders")
        assert (page.status_code, page.headers["content-type"]) == (503, "text/plain; charset=utf-8")
        assert browser.get("/api/orders").json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert browser.get("/auth/whoami").json()["logged_in"] is False
        assert browser.get("/auth/members").status_code == 503, "a public page that requires a user"
        assert [record.exc_info for record in caplog.records if record.name == "django.request"] in ([], [None])
        assert browser.post("/auth/login", json=ANN).json()["code"] == "NETWORK_ERROR"
        assert dict(browser.cookies) == cookies
        assert browser.post("/auth/logout").json()["code"] == "NETWORK_ERROR"
        assert dict(browser.cookies) == {}, "a logout deletes them in any case"


@in_a_thread
def test_a_stream_is_passed_on_and_closed_once(shop: Shop, clock: ManualClock) -> None:
    with shop.logged_in() as browser:
        clock.advance(hours=1)
        response = browser.get("/stream")
    assert response.text == "one two ann@example.com"
    assert seen == ["one ", "two ", "closed by ann@example.com"]
    assert set(set_cookies(response)) == {AUTH, REFRESH}


@pytest.mark.attack("A101")
@in_a_thread
def test_a_browser_cannot_forge_our_headers_or_its_address(shop: Shop, clock: ManualClock) -> None:
    forged = {"X-Keystead-User": "admin", "x_keystead_user_id": "1", "X-Other-Keystead": "stays"}
    with shop.logged_in() as browser:
        clock.advance(seconds=2)
        browser.get("/orders", headers={**forged, "X-Forwarded-For": "203.0.113.1"})
    assert seen == ["HTTP_X_OTHER_KEYSTEAD"]
    assert shop.wire.addresses == {ADDRESS}


@pytest.mark.attack("A101")
@in_a_thread
def test_pages_of_other_sites_log_no_user_in_or_out(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    upgrade = {"Upgrade": "WebSocket", "Connection": "Upgrade"}
    with shop.browser() as stranger:
        rejected = stranger.post("/auth/login", json=ANN, headers=CROSS)
        assert (rejected.status_code, rejected.headers.get("set-cookie")) == (403, None)
    with shop.logged_in() as browser:
        rejected = browser.post("/auth/logout", headers=CROSS)
        assert (rejected.status_code, rejected.headers.get("set-cookie"), shop.wire.sent) == (403, None, {})
        assert browser.get("/orders", headers={**upgrade, "Origin": CROSS["Origin"]}).status_code == 403
        assert errors(caplog) == [], "it is no error of the application"
        assert browser.get("/orders", headers={**upgrade, "Origin": "https://app.example.com"}).status_code != 403
        assert browser.post("/auth/logout", headers={"Sec-Fetch-Site": "same-origin"}).json()["success"] is True


@pytest.mark.parametrize("with_adapter", [True, False])
@in_a_thread
def test_require_auth_redirects_and_the_adapter_keeps_it_out_of_the_log(
    open_shop: Callable[..., Shop],
    make_app: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    with_adapter: bool,
) -> None:
    with open_shop(make_app(with_adapter=with_adapter)).browser() as browser:
        away = browser.get("/auth/members?tab=2")
        assert (away.status_code, away.headers["location"], away.content) == (303, LOCATION, b"")
        assert (errors(caplog) == []) is with_adapter
        elsewhere = browser.get("/auth/members?to=/join").headers["location"]
        assert elsewhere == "/join?redirect=/auth/members%3Fto%3D/join"
        program = browser.get("/auth/members", headers={"Accept": "application/json"})
        assert (program.status_code, program.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
        assert browser.get("/auth/crash").status_code == 500, "other errors are the application's own"


@pytest.mark.parametrize("framework", ["flask"], indirect=True)
@in_a_thread
def test_flask_under_test_redirects(
    open_shop: Callable[..., Shop], make_app: Callable[..., Any], framework: str
) -> None:
    app = make_app(with_adapter=False)
    app.testing = True
    with open_shop(app).browser() as browser:
        assert browser.get("/auth/members?tab=2").headers["location"] == LOCATION


@in_a_thread
def test_an_async_view_awaits_the_async_functions(shop: Shop, clock: ManualClock, ann: User) -> None:
    with shop.logged_in() as browser, shop.browser() as stranger:
        assert browser.get("/auth/awaited").json()["user"]["id"] == ann.id
        clock.advance(hours=1)
        refreshed = browser.get("/auth/awaited")
        assert (refreshed.json()["user"]["id"], len(set_cookies(refreshed))) == (ann.id, 2)
        assert stranger.get("/auth/awaited").json() == {"user": {}}


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
    assert (request.root, request.path) == ("/shop", "/orders/caf\u00e9\ufffd")
    assert (request.raw_path, request.query) == (b"/shop/orders/caf%C3%A9", b"page=%2f")
    assert (request.forwarded_for, request.origin) == ("198.51.100.23", "https://app.example.com")
    least = read_environ({"wsgi.url_scheme": "http", "REMOTE_ADDR": ""})
    assert (least.path, least.root, least.raw_path, least.query, least.address) == ("/", "", None, b"", None)
    assert (least.origin, least.referer) == (None, None)


@pytest.mark.attack("A101")
def test_an_ambiguous_path_is_never_public() -> None:
    rules = KeysteadMiddleware(lambda environ, start_response: [], "https://auth.example.com")._rules
    assert rules.is_public(read_environ({"PATH_INFO": "/auth/x", "RAW_URI": "/auth/x?a=%2f"}))
    for path in ("/auth/../orders", "//auth/x", "auth/x", "/auth;x/y", "/authors"):
        assert not rules.is_public(read_environ({"PATH_INFO": path})), path
    for raw in ({"RAW_URI": "/auth%2fx"}, {"REQUEST_URI": "/auth%2Fx?a"}, {"RAW_URI": "/x/%2e%2e/auth/x"}):
        assert not rules.is_public(read_environ({"PATH_INFO": "/auth/x", "REQUEST_URI": "/auth/x", **raw})), raw
