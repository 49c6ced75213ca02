"""The middleware while the server cannot be reached: sessions stay, and no request passes unchecked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx
import pytest

from keystead.users.model import User
from keystead_client.errors import KeysteadError, NetworkError, TokenInvalid, Unauthorized
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

    def verify(self, token: str) -> Claimed:
        if token not in self.tokens:
            raise TokenInvalid("not one of ours")
        return Claimed(self.user_id)

    async def verify_async(self, token: str) -> Claimed:
        return self.verify(token)


async def test_pages_are_503_and_the_cookies_stay(site: Site, browser: httpx.AsyncClient, clock: ManualClock) -> None:
    clock.advance(seconds=2)
    cookies = dict(browser.cookies)
    site.wire.is_cut = True
    page = await browser.get("/orders")
    assert (page.status_code, page.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert int(page.headers["retry-after"]) > 0
    program = await browser.get("/api/orders")
    assert (program.status_code, program.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    public = await browser.get("/auth/whoami")
    assert (public.json()["logged_in"], set_cookies(public)) == (False, {})
    assert (await browser.get("/auth/members")).status_code == 503, "a public page that requires a user"
    assert (await browser.get("/auth/members?raise")).status_code == 503
    assert dict(browser.cookies) == cookies
    async with site.browser() as stranger:
        assert (await stranger.get("/orders")).status_code == 303, "without cookies there is nothing to check"
    site.wire.is_cut = False
    assert (await browser.get("/orders")).status_code == 200


async def test_a_refresh_that_is_due_fails_once_for_all(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
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


async def test_a_verifier_accepts_without_the_server(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock, wire: Wire, ann: User
) -> None:
    verifier = OfflineVerifier(ann.id, browser.cookies[AUTH])
    verified = Site(wire, clock, verifier=verifier, allow_anonymous=True)
    wire.is_cut = True
    async with verified.browser() as same:
        same.cookies.update(dict(browser.cookies))
        assert (await same.get("/orders")).json()["user"] == {"id": ann.id}
        assert wire.sent == {}
        clock.advance(minutes=59, seconds=30)
        assert (await same.get("/orders")).status_code == 200, "the refresh fails, the token has half a minute"
        assert wire.sent == {"refreshToken": 1}
        verifier.tokens = ()
        clock.advance(seconds=2)
        assert (await same.get("/orders")).status_code == 503
        assert len(same.cookies) == 2
    await verified.sdk.close()


@pytest.mark.parametrize(
    ("error", "seconds", "cookies"),
    [
        (Unauthorized("the API key is bad"), 2, set()),
        (NetworkError("cut in between", was_sent=False), 3600, {AUTH, REFRESH}),
    ],
)
async def test_a_failed_check_ends_no_session_and_keeps_a_refresh(
    site: Site,
    browser: httpx.AsyncClient,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    error: KeysteadError,
    seconds: int,
    cookies: set[str],
) -> None:
    """A bad credential of the application (401, too) is not the user's; new cookies are sent even with a 503."""

    async def me_with(auth_token: str, *, forwarded_for: str | None = None) -> dict[str, str]:
        raise error

    clock.advance(seconds=seconds)
    monkeypatch.setattr(site.sdk, "me_with", me_with)
    response = await browser.get("/orders")
    assert (response.status_code, set(set_cookies(response))) == (503, cookies)
    assert len(browser.cookies) == 2
