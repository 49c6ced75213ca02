"""Who is logged in, asked for the first time when no cookie can be set any more: an error, and no refresh is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse

from keystead_client import auth
from keystead_client.asgi import Message, Receive, Scope, Send
from tests.clocks import ManualClock
from tests.sdk.conftest import PASSWORD
from tests.sdk.site import AUTH, REFRESH, Site, Wire

ANN = {"email": "ann@example.com", "password": PASSWORD}
BEGIN = {"type": "http.response.start", "status": 200, "headers": []}
COOKIES = {name.encode() for name in (AUTH, REFRESH)}


async def _token() -> object:
    return auth.get_auth_token()


@pytest.mark.attack("A104")
@pytest.mark.parametrize("ask", [auth.get_user, auth.logged_in, auth.require_auth, _token])
async def test_a_public_stream_asks_before_it_begins(
    site: Site, browser: httpx.AsyncClient, wire: Wire, clock: ManualClock, ask: Callable[[], Awaitable[object]]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/auth/early":
            await ask()
        await send(BEGIN)
        await ask()
        await send({"type": "http.response.body", "body": b""})

    streaming = Site(wire, clock, app)
    clock.advance(hours=1)
    async with streaming.browser() as same:
        same.cookies = browser.cookies
        with pytest.raises(RuntimeError, match="the response has begun"):
            await same.get("/auth/late")
        assert wire.sent == {}
        early = await same.get("/auth/early")
        assert (early.status_code, early.headers["vary"]) == (200, "Cookie")
    await streaming.sdk.close()


@pytest.mark.attack("A104")
async def test_a_background_task_asks_too_late(
    site: Site, browser: httpx.AsyncClient, wire: Wire, clock: ManualClock
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("", background=BackgroundTask(auth.get_user))(scope, receive, send)

    clock.advance(hours=1)
    working = Site(wire, clock, app)
    async with working.browser() as same:
        same.cookies = browser.cookies
        with pytest.raises(RuntimeError, match="the response has begun"):
            await same.get("/auth/page")
    assert wire.sent == {}
    await working.sdk.close()


@pytest.mark.attack("A104")
@pytest.mark.parametrize("extensions", [{"websocket.http.response": {}}, {}])
async def test_a_refused_websocket_hands_out_the_new_cookies(
    site: Site, browser: httpx.AsyncClient, wire: Wire, clock: ManualClock, extensions: dict[str, dict[str, str]]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", "code": 1008})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    closing = Site(wire, clock, app)
    clock.advance(hours=1)
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers = [(b"host", b"app.example.com"), (b"cookie", cookie.encode())]
    scope = {"type": "websocket", "path": "/live", "headers": headers, "extensions": extensions}
    await closing.middleware(scope, receive, send)
    if not extensions:
        assert [message["type"] for message in sent] == ["websocket.close"]
        return
    start, body = sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
    assert body == {"type": "websocket.http.response.body", "body": b""}
    cookies = {value.partition(b"=")[0] for name, value in start["headers"] if name == b"set-cookie"}
    assert cookies == COOKIES
    await closing.sdk.close()


@pytest.mark.attack("A101")
@pytest.mark.parametrize("ending", ["/auth/login", "/auth/logout"])
async def test_a_planted_access_token_saves_no_old_session(
    site: Site, browser: httpx.AsyncClient, wire: Wire, clock: ManualClock, ending: str
) -> None:
    refresh_token = browser.cookies[REFRESH]
    header, payload, signature = browser.cookies[AUTH].split(".")
    async with site.browser() as planted:
        cookie = f"{AUTH}={header}.{payload}.{signature[::-1]}; {REFRESH}={refresh_token}"
        assert (await planted.post(ending, json=ANN, headers={"Cookie": cookie})).json()["success"] is True
    clock.advance(seconds=20)
    async with site.browser() as late:
        assert (await late.get("/orders", headers={"Cookie": f"{REFRESH}={refresh_token}"})).status_code == 303
