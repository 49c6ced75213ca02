"""What an operator finds in the log: each reason once, and nothing of a user."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from keystead.context import ActiveBrand
from keystead_client import auth
from keystead_client._transport import QUIET, OutageLog, PoolTimeout, one_line
from keystead_client.cookies import CookieOptions
from keystead_client.errors import (
    BadUserInput,
    InvalidCredentials,
    KeysteadError,
    NetworkError,
    NotAuthenticated,
    RateLimited,
    ServerError,
    Unauthorized,
)
from tests.clocks import ManualClock
from tests.databases import SqliteTemplate
from tests.sdk.conftest import PASSWORD
from tests.sdk.site import Site, Wire

ANN = {"email": "ann@example.com", "password": PASSWORD}
AWAY, BACK = "Keystead cannot tell who is logged in: no name", "Keystead can tell again who is logged in"


@pytest.fixture
def database_url(sqlite_template: SqliteTemplate, tmp_path: Path) -> str:
    """SQLite alone."""
    return sqlite_template.copy(tmp_path)


@pytest.fixture
def ours(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[int, str]]]:
    """What the SDK has written since it was asked last."""
    caplog.set_level(logging.INFO, "keystead_client")

    def read() -> list[tuple[int, str]]:
        lines = [(line.levelno, line.getMessage()) for line in caplog.records if line.name == "keystead_client"]
        caplog.clear()
        return lines

    return read


Ours = Callable[[], list[tuple[int, str]]]


class Outcomes:
    """Questions of a program that looks at its watch."""

    def __init__(self) -> None:
        self.now = 0.0
        self._outages = OutageLog("Keystead", lambda: self.now)

    def come(self, *outcomes: BaseException | None) -> None:
        for outcome in outcomes:
            with suppress(BaseException), self._outages:
                if outcome is not None:
                    raise outcome


@pytest.mark.parametrize("outage", [NetworkError("no name"), ServerError("no name"), Unauthorized("no name")])
@pytest.mark.parametrize("answer", [None, NotAuthenticated("over"), InvalidCredentials("wrong")])
def test_an_outage_is_one_line_and_its_end_another(
    ours: Ours, outage: KeysteadError, answer: KeysteadError | None
) -> None:
    outcomes = Outcomes()
    outcomes.come(answer)
    assert ours() == []
    outcomes.come(*[outage] * 9)
    assert ours() == [(logging.WARNING, AWAY)]
    outcomes.come(*[answer] * 9)
    assert ours() == [(logging.INFO, BACK)]


def test_what_says_nothing_of_the_server_is_not_written(ours: Ours) -> None:
    outcomes = Outcomes()
    outcomes.come(PoolTimeout("full"), RateLimited("slowly"), BadUserInput("what"), GeneratorExit(), ValueError())
    assert ours() == []
    outcomes.come(NetworkError("no name"), PoolTimeout("full"), ValueError())
    assert ours() == [(logging.WARNING, AWAY)]


def test_a_way_that_comes_and_goes_does_not_fill_the_log(ours: Ours) -> None:
    outcomes = Outcomes()
    outcomes.come(*[NetworkError("no name"), None] * 9)
    assert ours() == [(logging.WARNING, AWAY), (logging.INFO, BACK)]
    outcomes.now = QUIET
    outcomes.come(NetworkError("no name"), None)
    assert ours() == [(logging.WARNING, AWAY), (logging.INFO, BACK)]


def test_what_others_have_written_stays_one_line() -> None:
    assert one_line("no\r\n\x1b[2JWARNING name" + "x" * 999) == ("no   [2JWARNING name" + "x" * 999)[:299] + "…"


@pytest.mark.attack("A101")
async def test_a_site_tells_why_it_answers_503(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock, ours: Ours
) -> None:
    clock.advance(seconds=2)
    ours()
    site.wire.is_cut = True
    for _ in range(3):
        assert (await browser.get("/orders")).status_code == 503
    site.wire.is_cut = False
    assert (await browser.get("/orders")).status_code == 200
    (_, away), back = ours()
    assert away.startswith("Keystead cannot tell who is logged in: the server cannot be reached")
    assert back == (logging.INFO, BACK)


async def test_a_login_that_fails_by_the_operators_fault_tells_both_what_concerns_them(
    wire: Wire, clock: ManualClock, brand: ActiveBrand, ours: Ours
) -> None:
    results: list[auth.AuthResult] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        results.append(await auth.login(**ANN, brand="no-such-brand"))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    site = Site(wire, clock, app)
    ours()
    async with site.browser() as browser:
        await browser.get("/auth/x")
        wire.is_cut = True
        await browser.get("/auth/x")
    wrong, away = (result.error for result in results)
    assert wrong is not None
    assert away is not None
    assert (wrong.code, wrong.message) == ("SERVER_ERROR", auth.TRY_LATER)
    assert (away.code, away.message) == ("NETWORK_ERROR", auth.TRY_LATER)
    assert wrong.cause
    assert wrong.cause not in repr(results)
    assert ours()[0] == (logging.WARNING, f"A login failed: {wrong.cause}")
    await site.sdk.close()


async def test_too_many_attempts_are_the_users_affair(site: Site, monkeypatch: pytest.MonkeyPatch, ours: Ours) -> None:
    async def login_with(*given: str, **options: str | None) -> None:
        raise RateLimited("Too many logins from 198.51.100.23")

    monkeypatch.setattr(site.sdk, "login_with", login_with)
    ours()
    async with site.browser() as browser:
        assert (await browser.post("/auth/login", json=ANN)).json()["code"] == "SERVER_ERROR"
    assert ours() == []


@pytest.mark.parametrize("wrong", ["\0", "a\0b", "\ud800", "x" * 5000, None, 1])
@pytest.mark.parametrize("field", ["email", "password"])
async def test_text_that_cannot_be_typed_is_a_wrong_password(site: Site, field: str, wrong: Any, ours: Ours) -> None:
    ours()
    async with site.browser() as browser:
        body = json.dumps({**ANN, field: wrong})
        assert (await browser.post("/auth/login", content=body)).json()["code"] == "INVALID_CREDENTIALS"
    assert (site.wire.sent, ours()) == ({}, [])


@pytest.mark.parametrize(
    ("origin", "headers", "options", "is_warned"),
    [
        ("http://192.0.2.9:8000", {}, None, True),
        ("http://nas.local", {}, CookieOptions(secure=True), True),
        ("http://nas.local", {}, CookieOptions(secure=False), False),
        ("http://localhost:8000", {}, None, False),
        ("http://nas.local", {"X-Forwarded-Proto": "https"}, None, False),
        ("http://nas.local", {"Referer": "https://nas.local/auth/login"}, None, False),
        ("https://nas.local", {}, None, False),
    ],
)
async def test_cookies_that_the_browser_will_drop_are_told_of_once(
    wire: Wire,
    clock: ManualClock,
    ann: object,
    ours: Ours,
    origin: str,
    headers: dict[str, str],
    options: CookieOptions | None,
    is_warned: bool,
) -> None:
    site = Site(wire, clock, cookie_options=options)
    ours()
    async with site.browser(origin) as browser:
        for _ in range(2):
            assert (await browser.post("/auth/login", json=ANN, headers=headers)).json()["success"] is True
    assert ["CookieOptions(secure=False)" in line for _, line in ours()] == [True] * is_warned
    await site.sdk.close()
