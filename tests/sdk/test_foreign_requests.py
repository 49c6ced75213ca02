"""CSRF protection: pages of other sites log no user in or out, and change nothing with our cookies."""

from __future__ import annotations

import httpx
import pytest

from keystead_client.middleware import Message
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.sdk.site import Site, Wire, set_cookies

ANN = {"email": "ann@example.com", "password": PASSWORD}
HOME, ELSE = "https://app.example.com", "https://else.example"
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://other.example.com"},
    {"Sec-Fetch-Site": "cross-site", "Origin": HOME},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Origin": ELSE},
    {"Origin": "null"},
    {"Origin": "http://app.example.com"},
    {"Origin": "https://app.example.com:8443"},
]
OURS = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8000"},
    {"Sec-Fetch-Site": "", "Origin": HOME},
    {"Origin": HOME},
]


@pytest.mark.attack("A101")
async def test_a_foreign_page_changes_nothing_with_our_cookies(site: Site, browser: httpx.AsyncClient) -> None:
    for headers in FOREIGN:
        for path in ("/auth/logout", "/orders", "/api/orders"):
            response = await browser.post(path, headers=headers)
            assert (response.status_code, set_cookies(response), site.wire.sent) == (403, {}, {}), headers
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["content-type"].startswith("application/json" if "api" in path else "text/plain")
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (await browser.request(method, "/auth/whoami", headers=FOREIGN[0])).status_code in (200, 405)
    assert (await browser.get("/orders", headers=FOREIGN[0])).status_code == 200, "a link may lead here"


@pytest.mark.attack("A101")
async def test_a_foreign_page_logs_no_user_in_or_out(site: Site) -> None:
    async with site.browser() as stranger:
        for headers in FOREIGN:
            for path in ("/auth/login", "/auth/logout", "/auth/refresh"):
                response = await stranger.post(path, json=ANN, headers=headers)
                assert (response.status_code, set_cookies(response), site.wire.sent) == (403, {}, {}), headers
        assert (await stranger.post("/auth/page", headers=FOREIGN[0])).status_code == 200, "the application decides"
        assert (await stranger.post("/orders", headers=FOREIGN[0])).status_code == 303


async def test_own_pages_and_programs_may(site: Site) -> None:
    for headers in OURS:
        async with site.browser() as browser:
            assert (await browser.post("/auth/login", json=ANN, headers=headers)).json()["success"] is True, headers
            assert (await browser.post("/orders", headers=headers)).status_code == 200
            assert (await browser.post("/auth/logout", headers=headers)).json()["success"] is True


async def test_allowed_origins_may(wire: Wire, clock: ManualClock, site: Site) -> None:
    listing = Site(wire, clock, allowed_origins=(ELSE,))
    async with listing.browser() as browser:
        for fetch_site in ("cross-site", ""):
            headers = {"Sec-Fetch-Site": fetch_site, "Origin": ELSE}
            assert (await browser.post("/auth/login", json=ANN, headers=headers)).json()["success"] is True
        assert (await browser.post("/orders", headers=FOREIGN[0])).status_code == 403
    await listing.sdk.close()


@pytest.mark.parametrize("kind", ["webtransport", "http.push"])
async def test_other_kinds_of_connections_are_not_passed_on(site: Site, kind: str) -> None:
    async def nothing(message: Message | None = None) -> Message:
        raise AssertionError

    with pytest.raises(RuntimeError, match=f"unsupported ASGI scope type '{kind}'"):
        await site.middleware({"type": kind}, nothing, nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(("address", "sent"), [("\u00ff", None), ("a b", None), ("fe80::1%eth0", "fe80::1%eth0")])
async def test_only_an_address_is_forwarded(site: Site, address: str, sent: str | None) -> None:
    async with site.browser(address=address) as browser:
        assert (await browser.post("/auth/login", json=ANN)).json()["success"] is True
    assert site.wire.addresses == {sent}
