"""Anybody can become an anonymous user, so that is nobody here, unless the application says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from keystead.context import ActiveBrand, Server
from keystead_client import AsyncClient
from keystead_client.fastapi import CurrentUser, OptionalUser
from keystead_client.middleware import KeysteadMiddleware
from keystead_client.verify import Verifier
from keystead_client.wsgi import KeysteadMiddleware as WsgiMiddleware
from tests.clocks import ManualClock
from tests.databases import SqliteTemplate
from tests.make import make_brand_token
from tests.sdk.site import AUTH, REFRESH, Site, Wire, given_cookies

ENDPOINT = "https://auth.example.com"


@pytest.fixture
def database_url(sqlite_template: SqliteTemplate, tmp_path: Path) -> str:
    """SQLite alone."""
    return sqlite_template.copy(tmp_path)


@pytest.fixture
async def guest(server: Server, brand: ActiveBrand, wire: Wire) -> dict[str, str]:
    """The cookies of somebody who has made themselves, with the brand token that every app of the brand holds."""
    brand_token = (await make_brand_token(server, brand)).reveal()
    async with AsyncClient(ENDPOINT, transport=wire, brand_token=brand_token) as client:
        refresh_token = (await client.create_me()).refresh_token or ""
        return {AUTH: await client.get_access_token(), REFRESH: refresh_token}


@pytest.mark.attack("A101")
async def test_an_anonymous_user_is_nobody_and_keeps_the_cookies(
    site: Site, guest: dict[str, str], clock: ManualClock
) -> None:
    async with site.browser() as browser:
        browser.cookies.update(guest)
        assert (await browser.get("/orders")).headers["location"] == "/auth/login?redirect=/orders"
        assert (await browser.get("/api/orders")).status_code == 401
        assert (await browser.get("/auth/whoami")).json()["logged_in"] is False
        assert (await browser.get("/auth/members")).status_code == 303
        assert (await browser.get("/auth/members?raise")).status_code == 418
        assert dict(browser.cookies) == guest, "they may become an account"
        assert (await browser.post("/auth/refresh")).json()["success"] is False
    async with site.browser() as browser:
        browser.cookies.update(guest)
        clock.advance(minutes=16)
        fresh = given_cookies(await browser.get("/orders"))
        assert (fresh[AUTH] != guest[AUTH], fresh[REFRESH]) == (True, guest[REFRESH]), "kept, and kept fresh"
    async with site.browser() as browser:
        browser.cookies.update(fresh)
        assert (await browser.post("/auth/logout")).json()["success"] is True
    assert site.wire.sent["logout"] == 1


async def test_where_anonymous_users_are_allowed_they_are_users(
    wire: Wire, guest: dict[str, str], clock: ManualClock
) -> None:
    site = Site(wire, clock, allow_anonymous=True)
    async with site.browser() as browser:
        browser.cookies.update(guest)
        page = (await browser.get("/orders")).json()
        assert (page["user"]["is_anonymous"], page["user"]["email"]) == (True, None)
        assert (await browser.get("/auth/whoami")).json()["logged_in"] is True
        assert (await browser.post("/auth/refresh")).json()["success"] is True
    await site.sdk.close()


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_the_dependencies_of_fastapi_agree(
    wire: Wire, guest: dict[str, str], clock: ManualClock, is_allowed: bool
) -> None:
    app = FastAPI()

    @app.get("/auth/me")
    async def me(user: CurrentUser) -> object:
        return user["id"]

    @app.get("/auth/perhaps")
    async def perhaps(user: OptionalUser) -> bool:
        return user is not None

    async with AsyncClient(ENDPOINT, transport=wire) as client:
        options: dict[str, Any] = {"allow_anonymous": is_allowed, "clock": lambda: clock.now().timestamp()}
        app.add_middleware(KeysteadMiddleware, client=client, **options)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="https://app.example.com", cookies=guest) as browser:
            assert (await browser.get("/auth/me")).status_code == (200 if is_allowed else 401)
            assert (await browser.get("/auth/perhaps")).json() is is_allowed


@pytest.mark.attack("A101")
async def test_who_does_not_say_that_they_have_an_account_has_none(
    site: Site, guest: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def me_with(auth_token: str, *, forwarded_for: str | None = None) -> dict[str, Any]:
        return {"id": "1"}

    monkeypatch.setattr(site.sdk, "me_with", me_with)
    async with site.browser() as browser:
        browser.cookies.update(guest)
        assert (await browser.get("/orders")).status_code == 303


@pytest.mark.parametrize("middleware", [KeysteadMiddleware, WsgiMiddleware])
def test_a_verifier_cannot_tell_and_so_nobody_decides_by_accident(middleware: Any) -> None:
    verifier = Verifier(ENDPOINT, "019b796d-d600-7000-be72-e1bcd08bca13")
    with pytest.raises(ValueError, match="allow_anonymous=True"):
        middleware(None, ENDPOINT, verifier=verifier)
    middleware(None, ENDPOINT, verifier=verifier, allow_anonymous=True)
