"""What the SDK logs for the operator: each reason once, and nothing about a user."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from keystead.context import ActiveBrand
from keystead_client import auth
from keystead_client._access_rules import IncomingRequest
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
from keystead_client.middleware import KeysteadMiddleware
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.sdk.site import Site, Wire

ANN = {"email": "ann@example.com", "password": PASSWORD}
AWAY, BACK = "Keystead cannot tell who is logged in: no name", "Keystead can tell again who is logged in"


@pytest.fixture
def ours(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[int, str]]]:
    """What the SDK has logged since the last call."""
    caplog.set_level(logging.INFO, "keystead_client")

    def read() -> list[tuple[int, str]]:
        lines = [(line.levelno, line.getMessage()) for line in caplog.records if line.name == "keystead_client"]
        caplog.clear()
        return lines

    return read


Ours = Callable[[], list[tuple[int, str]]]


class Watched:
    """Calls whose outcomes are logged."""

    def __init__(self) -> None:
        self.now = 0.0
        self._outages = OutageLog("Keystead", lambda: self.now)

    def note(self, *outcomes: BaseException | None) -> None:
        for outcome in outcomes:
            with suppress(BaseException), self._outages:
                if outcome is not None:
                    raise outcome


@pytest.mark.parametrize("outage", [NetworkError("no name"), ServerError("no name"), Unauthorized("no name")])
@pytest.mark.parametrize("answer", [None, NotAuthenticated("over"), InvalidCredentials("wrong")])
def test_an_outage_and_its_end_are_one_line_each(
    ours: Ours, outage: KeysteadError, answer: KeysteadError | None
) -> None:
    calls = Watched()
    calls.note(answer)
    assert ours() == []
    calls.note(*[outage] * 9)
    assert ours() == [(logging.WARNING, AWAY)]
    calls.note(*[answer] * 9)
    assert ours() == [(logging.INFO, BACK)]


def test_at_most_one_outage_a_minute_is_logged(ours: Ours) -> None:
    calls = Watched()
    calls.note(PoolTimeout("full"), RateLimited("slowly"), BadUserInput("what"), GeneratorExit(), ValueError())
    assert ours() == [], "they say nothing about the server"
    calls.note(*[NetworkError("no name"), None] * 9)
    assert ours() == [(logging.WARNING, AWAY), (logging.INFO, BACK)]
    calls.now = QUIET
    calls.note(NetworkError("no name"), PoolTimeout("full"), ValueError())
    assert ours() == [(logging.WARNING, AWAY)]


def test_a_message_of_the_server_stays_one_line() -> None:
    assert one_line("no\r\n\x1b[2JWARNING name" + "x" * 999) == ("no   [2JWARNING name" + "x" * 999)[:299] + "…"


@pytest.mark.attack("A101")
async def test_the_reason_of_a_503_is_logged(
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


async def test_a_login_without_a_brand_has_a_message_for_the_user_and_a_cause_in_the_log(
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


async def test_too_many_attempts_are_not_logged(site: Site, monkeypatch: pytest.MonkeyPatch, ours: Ours) -> None:
    async def login_with(*given: str, **options: str | None) -> None:
        raise RateLimited("Too many logins from 198.51.100.23")

    monkeypatch.setattr(site.sdk, "login_with", login_with)
    ours()
    async with site.browser() as browser:
        assert (await browser.post("/auth/login", json=ANN)).json()["code"] == "SERVER_ERROR"
    assert ours() == []


async def test_text_that_cannot_be_typed_is_a_wrong_password(site: Site, ours: Ours) -> None:
    ours()
    async with site.browser() as browser:
        for field in ("email", "password"):
            for wrong in ("\0", "a\0b", "\ud800", "x" * 5000, None, 1):
                body = json.dumps({**ANN, field: wrong})
                assert (await browser.post("/auth/login", content=body)).json()["code"] == "INVALID_CREDENTIALS"
    assert (site.wire.sent, ours()) == ({}, [])


@pytest.mark.parametrize(
    ("request_", "secure", "is_logged"),
    [
        ({"host": "192.0.2.9:8000"}, None, True),
        ({"host": "nas.local", "origin": None, "referer": "http://nas.local"}, True, True),
        ({"host": "nas.local"}, False, False),
        ({"host": "localhost:8000"}, None, False),
        ({"host": "nas.local", "header_names": frozenset({b"x-forwarded-proto"})}, None, False),
        ({"host": "nas.local", "referer": "https://nas.local/auth/login"}, None, False),
        ({"host": "nas.local", "scheme": "https"}, None, False),
    ],
)
def test_secure_cookies_over_plain_http_are_logged_once(
    ours: Ours, request_: dict[str, Any], secure: bool | None, is_logged: bool
) -> None:
    app: Any = None
    middleware = KeysteadMiddleware(app, "https://id.example.com", cookie_options=CookieOptions(secure), brand="shop")
    given: dict[str, Any] = {"scheme": "http", "header_names": frozenset(), "cookies": [], "accept": "", "path": "/"}
    given |= {"raw_path": None, "root": "", "query": b"", "address": None}
    ours()
    for _ in range(2):
        middleware._rules.warn_if_cookies_are_lost(IncomingRequest(**{**given, **request_}))
    assert ["CookieOptions(secure=False)" in line for _, line in ours()] == [True] * is_logged
