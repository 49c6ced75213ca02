"""The middleware while the server cannot be reached: nobody is thrown out, nobody gets in unchecked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx

from keystead.users.model import User
from keystead_client.errors import NetworkError, TokenInvalid, Unauthorized
from tests.clocks import ManualClock
from tests.sdk.site import AUTH, REFRESH, Site, Wire, set_cookies


@dataclass
class Claimed:
    user_id: str


class OfflineVerifier:
    """Knows the tokens of one user."""

    def __init__(self, user_id: str, *tokens: str) -> None:
        self.user_id = user_id
        self.tokens = tokens

    async def verify_async(self, token: str) -> Claimed:
        if token not in self.tokens:
            raise TokenInvalid("not one of ours")
        return Claimed(self.user_id)


async def test_a_protected_page_answers_503_and_the_cookies_stay(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(seconds=2)
    cookies = dict(browser.cookies)
    site.wire.is_cut = True
    page = await browser.get("/orders")
    assert (page.status_code, page.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert int(page.headers["retry-after"]) > 0
    program = await browser.get("/api/orders")
    assert (program.status_code, program.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert dict(browser.cookies) == cookies
    site.wire.is_cut = False
    assert (await browser.get("/orders")).status_code == 200


async def test_the_same_when_a_refresh_is_due(site: Site, browser: httpx.AsyncClient, clock: ManualClock) -> None:
    cookies = dict(browser.cookies)
    clock.advance(hours=1, minutes=1)
    site.wire.is_cut = True
    responses = await asyncio.gather(*(browser.get("/orders") for _ in range(20)))
    assert {response.status_code for response in responses} == {503}
    assert site.wire.sent["refreshToken"] == 1
    assert dict(browser.cookies) == cookies
    site.wire.is_cut = False
    assert (await browser.get("/orders")).status_code == 200
    assert dict(browser.cookies) != cookies


async def test_a_public_page_is_served_as_to_nobody(site: Site, browser: httpx.AsyncClient, clock: ManualClock) -> None:
    clock.advance(seconds=2)
    site.wire.is_cut = True
    response = await browser.get("/auth/whoami")
    assert response.json()["logged_in"] is False
    assert (await browser.get("/auth/members")).status_code == 503, "a page that requires somebody cannot tell"
    assert (await browser.get("/auth/members?raise")).status_code == 503
    assert set_cookies(response) == {}


async def test_who_has_no_cookies_is_sent_to_the_login_page_all_the_same(site: Site) -> None:
    site.wire.is_cut = True
    async with site.browser() as browser:
        assert (await browser.get("/orders")).status_code == 303


async def test_a_verifier_lets_in_without_the_server(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock, wire: Wire, ann: User
) -> None:
    verified = Site(wire, clock, verifier=OfflineVerifier(ann.id, browser.cookies[AUTH]), allow_anonymous=True)
    wire.is_cut = True
    async with verified.browser() as same:
        same.cookies.update(dict(browser.cookies))
        assert (await same.get("/orders")).json()["user"] == {"id": ann.id}
        assert wire.sent == {}
        clock.advance(minutes=59, seconds=30)
        assert (await same.get("/orders")).status_code == 200, "the refresh fails, the token has half a minute"
        assert wire.sent == {"refreshToken": 1}
        verified.middleware._protection.gate._verifier = OfflineVerifier(ann.id)
        clock.advance(seconds=2)
        assert (await same.get("/orders")).status_code == 503
        assert len(same.cookies) == 2
    await verified.sdk.close()


async def test_a_bad_key_of_the_application_throws_nobody_out(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    """The server answers 401 to it: that is about the application, and every user would be logged out."""

    async def unauthorized(auth_token: str, *, forwarded_for: str | None = None) -> dict[str, str]:
        raise Unauthorized("the API key is bad")

    clock.advance(seconds=2)
    site.sdk.me_with = unauthorized  # type: ignore[method-assign,assignment]
    assert (await browser.get("/orders")).status_code == 503
    assert len(browser.cookies) == 2


async def test_new_cookies_are_handed_out_even_with_a_503(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    async def cut(auth_token: str, *, forwarded_for: str | None = None) -> dict[str, str]:
        raise NetworkError("cut in between", was_sent=False)

    clock.advance(hours=1)
    site.sdk.me_with = cut  # type: ignore[method-assign,assignment]
    response = await browser.get("/orders")
    assert response.status_code == 503
    assert set(set_cookies(response)) == {AUTH, REFRESH}
