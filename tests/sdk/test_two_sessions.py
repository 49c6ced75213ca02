"""A browser whose two cookies are of two sessions, as after somebody else has planted one of them."""

from __future__ import annotations

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead_client.errors import RefreshTokenInvalid, Unauthenticated
from keystead_client.tokens import Kind
from tests.clocks import ManualClock
from tests.make import make_user
from tests.sdk.conftest import PASSWORD
from tests.sdk.site import AUTH, REFRESH, Site

EVE = "eve@example.com"


@pytest.mark.attack("A101")
@pytest.mark.parametrize("is_refreshed", [False, True])
@pytest.mark.parametrize("kind", ["pair", "standing"])
@pytest.mark.parametrize("path", ["/auth/login", "/auth/logout"])
async def test_both_sessions_end(
    server: Server,
    brand: ActiveBrand,
    site: Site,
    browser: httpx.AsyncClient,
    clock: ManualClock,
    path: str,
    kind: Kind,
    is_refreshed: bool,
) -> None:
    for email in (EVE, "bob@example.com"):
        await make_user(server, brand, email, password=PASSWORD)
    anns = await site.sdk.login_with("ann@example.com", PASSWORD, session=kind)
    eves = await site.sdk.login_with(EVE, PASSWORD)
    browser.cookies.clear()
    browser.cookies.update({REFRESH: anns.refresh_token or ""})
    if is_refreshed:
        assert (await browser.get("/orders")).json()["user"]["email"] == "ann@example.com"
        browser.cookies.clear()
        browser.cookies.update({REFRESH: anns.refresh_token or ""})
    browser.cookies.update({AUTH: eves.auth_token or ""})
    assert (await browser.get("/orders")).json()["user"]["email"] == EVE
    response = await browser.post(path, json={"email": "bob@example.com", "password": PASSWORD})
    assert response.json()["success"] is True
    with pytest.raises(Unauthenticated):
        await site.sdk.me_with(eves.auth_token)
    with pytest.raises(RefreshTokenInvalid):
        await site.sdk.refresh_with(anns.refresh_token)


@pytest.mark.attack("A101")
async def test_a_session_that_ended_a_moment_ago_does_not_save_the_other(
    server: Server, brand: ActiveBrand, site: Site, browser: httpx.AsyncClient
) -> None:
    await make_user(server, brand, EVE, password=PASSWORD)
    eves = await site.sdk.login_with(EVE, PASSWORD)
    anns = browser.cookies[REFRESH]
    browser.cookies.clear()
    browser.cookies.update({AUTH: eves.auth_token or "", REFRESH: anns})
    assert (await browser.get("/orders")).json()["user"]["email"] == EVE
    await site.sdk.logout_with(eves.auth_token)
    assert (await browser.post("/auth/logout")).json()["code"] == "TOKEN_EXPIRED"
    with pytest.raises(RefreshTokenInvalid):
        await site.sdk.refresh_with(anns)
