"""Anonymous users count as not logged in, unless the application allows them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from keystead.context import ActiveBrand, Server
from keystead_client import AsyncClient
from keystead_client.fastapi import CurrentUser, OptionalUser
from tests.clocks import ManualClock
from tests.make import make_brand_token
from tests.sdk.site import AUTH, REFRESH, Site, Wire, given_cookies


@pytest.fixture
async def guest(server: Server, brand: ActiveBrand, wire: Wire) -> dict[str, str]:
    """The cookies of an anonymous user, made with the brand token that every app of the brand has."""
    brand_token = (await make_brand_token(server, brand)).reveal()
    async with AsyncClient("https://auth.example.com", transport=wire, brand_token=brand_token) as client:
        refresh_token = (await client.create_me()).refresh_token or ""
        return {AUTH: await client.get_access_token(), REFRESH: refresh_token}


@pytest.mark.attack("A101")
async def test_an_anonymous_user_is_not_logged_in_and_keeps_the_cookies(
    site: Site, guest: dict[str, str], clock: ManualClock
) -> None:
    async with site.browser() as browser:
        browser.cookies.update(guest)
        assert (await browser.get("/orders")).headers["location"] == "/auth/login?redirect=/orders"
        assert (await browser.get("/api/orders")).status_code == 401
        assert (await browser.get("/auth/whoami")).json()["logged_in"] is False
        assert (await browser.get("/auth/members")).status_code == 303
        assert (await browser.get("/auth/members?raise")).status_code == 418
        assert dict(browser.cookies) == guest, "the user may become an account"
        assert (await browser.post("/auth/refresh")).json()["success"] is False
    async with site.browser() as browser:
        browser.cookies.update(guest)
        clock.advance(minutes=16)
        fresh = given_cookies(await browser.get("/orders"))
        assert (fresh[AUTH] != guest[AUTH], fresh[REFRESH]) == (True, guest[REFRESH]), "kept, and refreshed"
    async with site.browser() as browser:
        browser.cookies.update(fresh)
        assert (await browser.post("/auth/logout")).json()["success"] is True
    assert site.wire.sent["logout"] == 1


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_allow_anonymous(wire: Wire, guest: dict[str, str], clock: ManualClock, is_allowed: bool) -> None:
    app = FastAPI()

    @app.get("/auth/me")
    async def me(user: CurrentUser) -> object:
        return user

    @app.get("/auth/perhaps")
    async def perhaps(user: OptionalUser) -> bool:
        return user is not None

    site = Site(wire, clock, app, allow_anonymous=is_allowed)
    async with site.browser() as browser:
        browser.cookies.update(guest)
        response = await browser.get("/auth/me")
        assert response.status_code == (200 if is_allowed else 401)
        assert (await browser.get("/auth/perhaps")).json() is is_allowed
        if is_allowed:
            assert (response.json()["is_anonymous"], response.json()["email"]) == (True, None)
    await site.sdk.close()


@pytest.mark.attack("A101")
async def test_a_user_who_may_be_anonymous_is_not_logged_in(
    site: Site, guest: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def me_with(auth_token: str, *, forwarded_for: str | None = None) -> dict[str, Any]:
        return {"id": "1"}

    monkeypatch.setattr(site.sdk, "me_with", me_with)
    async with site.browser() as browser:
        browser.cookies.update(guest)
        assert (await browser.get("/orders")).status_code == 303
