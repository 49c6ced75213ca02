"""Pages of other sites before a WSGI application."""

from __future__ import annotations

import logging

import pytest

from tests.sdk.wsgi.shop import ANN, Shop, in_a_thread

CROSS = {"Sec-Fetch-Site": "cross-site", "Origin": "https://else.example"}
UPGRADE = {"Upgrade": "WebSocket", "Connection": "Upgrade"}


@pytest.mark.attack("A101")
@in_a_thread
def test_they_log_nobody_in_or_out(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    with shop.browser() as nobody, caplog.at_level(logging.ERROR):
        refused = nobody.post("/auth/login", json=ANN, headers=CROSS)
        assert (refused.status_code, refused.headers.get("set-cookie")) == (403, None)
    with shop.logged_in() as browser:
        refused = browser.post("/auth/logout", headers=CROSS)
        assert (refused.status_code, refused.headers.get("set-cookie"), shop.wire.sent) == (403, None, {})
        assert browser.post("/auth/logout", headers={"Sec-Fetch-Site": "same-origin"}).json()["success"] is True
    assert not caplog.records, "it is no error of the application"


@pytest.mark.attack("A101")
@in_a_thread
def test_they_open_no_websockets(shop: Shop) -> None:
    with shop.logged_in() as browser:
        assert browser.get("/orders", headers={**UPGRADE, "Origin": CROSS["Origin"]}).status_code == 403
        assert browser.get("/orders", headers={**UPGRADE, "Origin": "https://app.example.com"}).status_code != 403
