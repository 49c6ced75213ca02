"""Pages of other sites log nobody in or out, and change nothing with our cookies."""

from __future__ import annotations

import httpx
import pytest

from keystead_client.middleware import Message
from tests.clocks import ManualClock
from tests.sdk.conftest import PASSWORD
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
@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/auth/logout", "/orders", "/api/orders"])
async def test_a_foreign_page_changes_nothing_with_our_cookies(
    site: Site, browser: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    response = await browser.post(path, headers=headers)
    assert (response.status_code, set_cookies(response), site.wire.sent) == (403, {}, {})
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"].startswith("application/json" if "api" in path else "text/plain")


@pytest.mark.attack("A101")
@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/auth/login", "/auth/logout", "/auth/refresh"])
async def test_without_cookies_it_logs_nobody_in_or_out(site: Site, path: str, headers: dict[str, str]) -> None:
    async with site.browser() as browser:
        response = await browser.post(path, json=ANN, headers=headers)
    assert (response.status_code, set_cookies(response), site.wire.sent) == (403, {}, {})


@pytest.mark.parametrize("headers", OURS)
async def test_our_own_pages_and_programs_may(site: Site, headers: dict[str, str]) -> None:
    async with site.browser() as browser:
        assert (await browser.post("/auth/login", json=ANN, headers=headers)).json()["success"] is True
        assert (await browser.post("/orders", headers=headers)).status_code == 200
        assert (await browser.post("/auth/logout", headers=headers)).json()["success"] is True


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_link_from_elsewhere_leads_in(browser: httpx.AsyncClient, method: str) -> None:
    response = await browser.request(method, "/auth/whoami", headers=FOREIGN[0])
    assert response.status_code in (200, 405)
    assert (await browser.get("/orders", headers=FOREIGN[0])).status_code == 200


async def test_a_foreign_form_of_the_application_is_its_own_affair(site: Site) -> None:
    async with site.browser() as nobody:
        assert (await nobody.post("/auth/page", headers=FOREIGN[0])).status_code == 200
        assert (await nobody.post("/orders", headers=FOREIGN[0])).status_code == 303


async def test_origins_that_are_listed_are_ours(wire: Wire, clock: ManualClock, site: Site) -> None:
    listing = Site(wire, clock, allowed_origins=(ELSE,))
    async with listing.browser() as browser:
        for site_of_page in ("cross-site", ""):
            headers = {"Sec-Fetch-Site": site_of_page, "Origin": ELSE}
            assert (await browser.post("/auth/login", json=ANN, headers=headers)).json()["success"] is True
        assert (await browser.post("/orders", headers=FOREIGN[0])).status_code == 403
    await listing.sdk.close()


async def test_a_logout_of_nobody_sets_no_cookies(site: Site) -> None:
    async with site.browser() as nobody:
        response = await nobody.post("/auth/logout")
    assert (response.json()["success"], set_cookies(response)) == (True, {})


@pytest.mark.parametrize("kind", ["webtransport", "http.push"])
async def test_what_nobody_can_judge_does_not_get_in(site: Site, kind: str) -> None:
    async def send(message: Message) -> None:
        raise AssertionError

    async def receive() -> Message:
        raise AssertionError

    with pytest.raises(RuntimeError, match=kind):
        await site.middleware({"type": kind}, receive, send)


@pytest.mark.parametrize(("address", "told"), [("\u00ff", None), ("a b", None), ("fe80::1%eth0", "fe80::1%eth0")])
async def test_an_address_that_is_none_is_not_passed_on(site: Site, address: str, told: str | None) -> None:
    async with site.browser(address=address) as browser:
        assert (await browser.post("/auth/login", json=ANN)).json()["success"] is True
    assert site.wire.addresses == {told}
