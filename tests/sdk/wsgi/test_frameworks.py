"""What Flask and Django make of the exceptions of ``auth``, and of views that await."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from keystead.users.model import User
from tests.clocks import ManualClock
from tests.sdk.site import set_cookies
from tests.sdk.wsgi.shop import Shop, in_a_thread

LOCATION = "/auth/login?redirect=/auth/members%3Ftab%3D2"


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What has been logged that somebody should look at."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@in_a_thread
def test_a_view_that_requires_somebody_redirects_and_nothing_is_logged(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with shop.browser() as browser:
        away = browser.get("/auth/members?tab=2")
        assert (away.status_code, away.headers["location"], away.content) == (303, LOCATION, b"")
        assert errors(caplog) == []
        elsewhere = browser.get("/auth/members?to=/join").headers["location"]
        assert elsewhere == "/join?redirect=/auth/members%3Fto%3D/join"
        program = browser.get("/auth/members", headers={"Accept": "application/json"})
        assert (program.status_code, program.json()["error"]["code"]) == (401, "UNAUTHENTICATED")


@in_a_thread
def test_without_the_adapter_the_answer_is_the_same_and_the_log_is_not(
    open_shop: Callable[..., Shop], make_app: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    shop = open_shop(make_app(with_adapter=False))
    with shop.browser() as browser:
        away = browser.get("/auth/members?tab=2")
    assert (away.status_code, away.headers["location"], away.content) == (303, LOCATION, b"")
    assert errors(caplog) != []


@in_a_thread
def test_the_cookies_of_a_session_that_is_over_go_with_the_redirect(shop: Shop, clock: ManualClock) -> None:
    with shop.logged_in() as browser:
        shop.sdk.logout_with(browser.cookies["keystead_auth_token"])
        clock.advance(seconds=2)
        away = browser.get("/auth/members")
        assert away.status_code == 303
        assert all("Max-Age=0" in cookie for cookie in set_cookies(away).values())


@in_a_thread
def test_an_asynchronous_view_awaits_the_asynchronous_functions(shop: Shop, clock: ManualClock, ann: User) -> None:
    with shop.logged_in() as browser, shop.browser() as nobody:
        assert browser.get("/auth/awaited").json()["user"]["id"] == ann.id
        clock.advance(hours=1)
        refreshed = browser.get("/auth/awaited")
        assert refreshed.json()["user"]["id"] == ann.id
        assert len(set_cookies(refreshed)) == 2
        assert nobody.get("/auth/awaited").json() == {"user": {}}


@pytest.mark.parametrize("framework", ["django"], indirect=True)
@in_a_thread
def test_django_answers_an_outage_without_a_traceback(
    shop: Shop, clock: ManualClock, caplog: pytest.LogCaptureFixture, framework: str
) -> None:
    with shop.logged_in() as browser:
        clock.advance(seconds=2)
        shop.wire.is_cut = True
        assert browser.get("/auth/members").status_code == 503
    assert [record.exc_info for record in caplog.records if record.name == "django.request"] == [None]


@in_a_thread
def test_an_error_of_the_application_is_its_own(shop: Shop) -> None:
    with shop.logged_in() as browser:
        assert browser.get("/crash").status_code == 500


@pytest.mark.parametrize("framework", ["flask"], indirect=True)
@in_a_thread
def test_flask_under_test_raises_what_it_would_log(
    open_shop: Callable[..., Shop], make_app: Callable[..., Any], framework: str
) -> None:
    app = make_app(with_adapter=False)
    app.testing = True
    with open_shop(app).browser() as browser:
        assert browser.get("/auth/members?tab=2").headers["location"] == LOCATION
