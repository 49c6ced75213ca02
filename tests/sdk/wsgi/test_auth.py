"""The functions of ``keystead_client.wsgi.auth`` beside those of ``keystead_client.auth``."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

import keystead_client.auth
from keystead_client.middleware import Receive, Scope, Send
from keystead_client.wsgi import auth
from tests.clocks import ManualClock
from tests.sdk.site import Site, Wire

ASKING: list[Callable[[], object]] = [
    auth.get_user,
    auth.logged_in,
    auth.logout,
    auth.require_auth,
    auth.refresh_tokens,
    lambda: auth.login("ann@example.com", "x"),
]


def test_both_modules_offer_the_same() -> None:
    awaited = keystead_client.auth
    assert auth.__all__ == awaited.__all__
    for name in auth.__all__:
        one, other = getattr(auth, name), getattr(awaited, name)
        assert one is other or (inspect.signature(one), one.__doc__) == (inspect.signature(other), other.__doc__), name


@pytest.mark.parametrize("ask", [*ASKING, auth.get_auth_token, auth.get_refresh_token])
def test_outside_a_request_every_function_raises(ask: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match="KeysteadMiddleware"):
        ask()


async def test_in_an_asgi_application_every_function_raises(wire: Wire, clock: ManualClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for ask in ASKING:
            with pytest.raises(RuntimeError, match=r"await the functions of keystead_client\.auth"):
                ask()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    site = Site(wire, clock, app)
    async with site.browser() as browser:
        browser.cookies.update({"keystead_auth_token": "a.b.c"})
        assert (await browser.get("/auth/x")).status_code == 204
    assert wire.sent == {}, "no call is started"
    await site.sdk.close()
