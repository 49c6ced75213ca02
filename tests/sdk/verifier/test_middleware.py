"""The verifier in the middleware: it works without the server, and ends no session by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead_client import AsyncClient, auth
from keystead_client._checks import TokenChecks
from keystead_client.errors import NetworkError
from keystead_client.middleware import KeysteadMiddleware, Receive, Scope, Send
from keystead_client.verify import Verifier
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import PASSWORD, make_user
from tests.sdk.site import AUTH, REFRESH, set_cookies
from tests.sdk.verifier.passage import InProcess

Enter = Callable[..., Awaitable[httpx.AsyncClient]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with the id of the user."""
    shown = str(((await auth.get_user()) or {}).get("id")).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": shown})


@pytest.fixture
async def enter(server: Server, brand: ActiveBrand, issuer: InProcess, clock: ManualClock) -> AsyncIterator[Enter]:
    """A browser with a new session of bob's, in front of an application with this verifier and this clock."""
    bob = await make_user(server, brand, "bob@example.com", password=PASSWORD)
    async with AsyncExitStack() as stack:

        async def enter(verifier: Verifier, seconds: float = 0) -> httpx.AsyncClient:
            client = await stack.enter_async_context(
                AsyncClient("https://auth.example.com", transport=issuer, retries=0, brand=brand.name)
            )
            tokens = await client.login_with("bob@example.com", PASSWORD)
            now = lambda: clock.now().timestamp() + seconds  # noqa: E731
            middleware = KeysteadMiddleware(app, client=client, verifier=verifier, allow_anonymous=True, clock=now)
            transport = httpx.ASGITransport(app=middleware)
            browser = httpx.AsyncClient(transport=transport, base_url="https://app.example.com")
            for name, token in ((AUTH, tokens.auth_token), (REFRESH, tokens.refresh_token)):
                browser.cookies.set(name, token or "", domain="app.example.com")
            browser.headers["X-Bob"] = bob.id
            return await stack.enter_async_context(browser)

        yield enter


async def test_a_verifier_checks_while_the_server_is_away(
    verifier: Verifier, forge: Forge, issuer: InProcess, clock: ManualClock
) -> None:
    """The user by id, None for a forgery, and an error, not a rejection, once the keys are too old."""
    async with AsyncClient("https://auth.example.com", transport=issuer, retries=0) as server:
        checks = TokenChecks(server, verifier, lambda: clock.now().timestamp())
        token = forge.with_payload(exp=forge.payload["exp"] + 86_400)
        assert await checks.check(token, None) == {"id": forge.payload["sub"]}
        issuer.is_away = True
        clock.advance(seconds=3600)
        assert await checks.check(token, None) == {"id": forge.payload["sub"]}
        assert await checks.check(token[:-4] + "AAAA", None) is None
        clock.advance(seconds=2)
        with pytest.raises(NetworkError):
            await checks.check(token, None)
    assert {request.url.path for request in issuer.asked} == {"/.well-known/jwks.json"}


@pytest.mark.parametrize("seconds", [-40, 7200])
async def test_the_server_decides_if_the_clock_of_the_computer_is_wrong(
    enter: Enter, make: Callable[..., Verifier], clock: ManualClock, seconds: float
) -> None:
    browser = await enter(make(clock=lambda: clock.now().timestamp() + seconds), seconds)
    for _ in range(2):
        response = await browser.get("/orders")
        assert (response.status_code, response.text) == (200, browser.headers["X-Bob"])
    assert len(browser.cookies) == 2


@pytest.mark.parametrize("is_away", [False, True])
async def test_only_the_server_ends_a_session(
    enter: Enter, make: Callable[..., Verifier], clock: ManualClock, issuer: InProcess, is_away: bool
) -> None:
    browser = await enter(make(clock=lambda: clock.now().timestamp() - 40), -40)
    if is_away:
        assert (await browser.get("/orders")).status_code == 200
        issuer.is_away = True
        assert (await browser.get("/orders")).status_code == 200, "its answer is cached for a second"
        clock.advance(seconds=1)
        response = await browser.get("/orders")
        assert (response.status_code, set_cookies(response)) == (503, {})
        return
    async with AsyncClient("https://auth.example.com", transport=issuer) as client:
        await client.logout_with(browser.cookies[AUTH])
    assert (await browser.get("/orders")).status_code == 303
    assert dict(browser.cookies) == {}


async def test_a_verifier_of_another_brand_lets_no_user_in_and_ends_no_session(
    enter: Enter, make: Callable[..., Verifier], other_brand: ActiveBrand
) -> None:
    browser = await enter(make(brand=other_brand.id))
    old = dict(browser.cookies)
    assert (await browser.get("/orders")).status_code == 303
    assert (len(browser.cookies), browser.cookies[REFRESH] == old[REFRESH]) == (2, False)
