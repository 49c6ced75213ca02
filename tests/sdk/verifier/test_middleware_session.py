"""A verifier that is wrong logs nobody out: only the server knows that a session is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from keystead.context import ActiveBrand, Server
from keystead_client import AsyncClient, auth
from keystead_client.middleware import KeysteadMiddleware, Receive, Scope, Send
from keystead_client.verify import Verifier
from tests.clocks import ManualClock
from tests.make import make_user
from tests.sdk.conftest import PASSWORD
from tests.sdk.site import AUTH, REFRESH, set_cookies
from tests.sdk.verifier.passage import InProcess

Enter = Callable[..., Awaitable[httpx.AsyncClient]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says who is there."""
    shown = str(((await auth.get_user()) or {}).get("id")).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": shown})


@pytest.fixture
async def enter(server: Server, brand: ActiveBrand, issuer: InProcess, clock: ManualClock) -> AsyncIterator[Enter]:
    """A browser with a new session of bob's, before an application with this verifier and this clock."""
    bob = await make_user(server, brand, "bob@example.com", password=PASSWORD)
    async with AsyncExitStack() as stack:

        async def enter(verifier: Verifier, seconds: float = 0) -> httpx.AsyncClient:
            client = await stack.enter_async_context(
                AsyncClient("https://auth.example.com", transport=issuer, retries=0, brand=brand.name)
            )
            tokens = await client.login_with("bob@example.com", PASSWORD)
            options: dict[str, Any] = {"verifier": verifier, "allow_anonymous": True}
            middleware = KeysteadMiddleware(
                app, client=client, clock=lambda: clock.now().timestamp() + seconds, **options
            )
            transport = httpx.ASGITransport(app=middleware)
            browser = httpx.AsyncClient(transport=transport, base_url="https://app.example.com")
            for name, token in ((AUTH, tokens.auth_token), (REFRESH, tokens.refresh_token)):
                browser.cookies.set(name, token or "", domain="app.example.com")
            browser.headers["X-Bob"] = bob.id
            return await stack.enter_async_context(browser)

        yield enter


@pytest.mark.parametrize("seconds", [-40, 7200])
async def test_a_computer_whose_clock_is_wrong_asks_the_server(
    enter: Enter, make: Callable[..., Verifier], clock: ManualClock, seconds: float
) -> None:
    browser = await enter(make(clock=lambda: clock.now().timestamp() + seconds), seconds)
    for _ in range(2):
        response = await browser.get("/orders")
        assert (response.status_code, response.text) == (200, browser.headers["X-Bob"])
    await browser.get("/orders")
    assert len(browser.cookies) == 2


async def test_its_word_is_taken_where_the_session_is_over(
    enter: Enter, make: Callable[..., Verifier], clock: ManualClock, server: Server, issuer: InProcess
) -> None:
    browser = await enter(make(clock=lambda: clock.now().timestamp() - 40), -40)
    async with AsyncClient("https://auth.example.com", transport=issuer) as client:
        await client.logout_with(browser.cookies[AUTH])
    assert (await browser.get("/orders")).status_code == 303
    assert dict(browser.cookies) == {}


async def test_a_server_that_cannot_be_asked_leaves_the_cookies(
    enter: Enter, make: Callable[..., Verifier], clock: ManualClock, issuer: InProcess
) -> None:
    verifier = make(clock=lambda: clock.now().timestamp() - 40)
    browser = await enter(verifier, -40)
    assert (await browser.get("/orders")).status_code == 200
    issuer.is_away = True
    assert (await browser.get("/orders")).status_code == 200, "its answer is believed for a second"
    clock.advance(seconds=1)
    response = await browser.get("/orders")
    assert (response.status_code, set_cookies(response)) == (503, {})


async def test_a_verifier_of_another_brand_lets_nobody_in_and_logs_nobody_out(
    enter: Enter, make: Callable[..., Verifier], other_brand: ActiveBrand
) -> None:
    browser = await enter(make(brand=other_brand.id))
    old = dict(browser.cookies)
    assert (await browser.get("/orders")).status_code == 303
    assert (len(browser.cookies), browser.cookies[REFRESH] == old[REFRESH]) == (2, False)
