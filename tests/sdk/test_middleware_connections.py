"""Streams, background work, WebSockets, mounted applications and the lifespan."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from keystead_client.async_client import AsyncClient
from keystead_client.middleware import Message, Receive, Scope, Send
from keystead_client.tokens import Tokens
from tests.clocks import ManualClock
from tests.sdk.site import AUTH, REFRESH, Site, Wire, set_cookies

HOME, WWW, EVIL = b"https://app.example.com", b"https://www.example.com", b"https://evil.example.com"
REFUSED = {"type": "websocket.close", "code": 1008, "reason": ""}


def scope_of(kind: str, path: str, browser: httpx.AsyncClient | None, **headers: bytes) -> dict[str, Any]:
    cookies = "; ".join(f"{name}={value}" for name, value in (browser.cookies if browser else {}).items())
    sent = {"host": b"app.example.com", "cookie": cookies.encode(), **headers}
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "scheme": "wss" if kind == "websocket" else "https",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "subprotocols": [],
        "client": ("198.51.100.23", 1),
        "headers": [(name.replace("_", "-").encode(), value) for name, value in sent.items() if value],
    }


async def converse(site: Site, scope: dict[str, Any], *incoming: Message) -> list[Message]:
    """What the middleware sends."""
    sent: list[Message] = []
    waiting = iter(incoming)

    async def receive() -> Message:
        return next(waiting)

    async def send(message: Message) -> None:
        sent.append(message)

    await site.middleware(scope, receive, send)
    return sent


async def connect(site: Site, path: str, browser: httpx.AsyncClient | None, **headers: bytes) -> list[Message]:
    return await converse(site, scope_of("websocket", path, browser, **headers), {"type": "websocket.connect"})


def cookie_names(message: Message) -> list[str]:
    return [value.partition(b"=")[0].decode() for name, value in message["headers"] if name == b"set-cookie"]


async def test_a_stream_is_passed_on_and_background_work_is_done(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    request = {"type": "http.request", "body": b"", "more_body": False}
    sent = await converse(site, scope_of("http", "/stream", browser), request)
    bodies = [message["body"] for message in sent if message["type"] == "http.response.body"]
    assert bodies == [b"one ", b"two ", b"ann@example.com", b""], "one by one"
    site.done.clear()
    clock.advance(hours=1)
    response = await browser.get("/stream")
    assert site.done == ["one ", "two ", "ann@example.com", "background"]
    assert set(set_cookies(response)) == {AUTH, REFRESH}


async def test_a_websocket_opens_for_a_user_and_gets_the_new_cookies(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(hours=1)
    sent = await connect(site, "/socket", browser)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert sent[1]["text"] == "ann@example.com"
    assert cookie_names(sent[0]) == [AUTH, REFRESH]


async def test_a_websocket_is_refused_without_a_session_and_during_an_outage(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    assert await connect(site, "/socket", None) == [REFUSED]
    clock.advance(seconds=2)
    site.wire.is_cut = True
    assert await connect(site, "/socket", browser) == [{**REFUSED, "code": 1013}]


@pytest.mark.attack("A101")
@pytest.mark.parametrize("path", ["/socket", "/auth/socket"])
async def test_a_foreign_page_opens_no_websocket_with_our_cookies(
    wire: Wire, clock: ManualClock, site: Site, browser: httpx.AsyncClient, path: str
) -> None:
    """Cross-site WebSocket hijacking: neither CORS nor, from a sibling subdomain, SameSite prevents it."""
    allowing = Site(wire, clock, allowed_origins=(WWW.decode(),))
    for origin in (EVIL, b"null", WWW):
        assert (await connect(site, path, browser, origin=origin))[0] == REFUSED
    for where, origin in ((site, HOME), (allowing, WWW)):
        # At the public path the application has nothing: it refuses by itself, with another code.
        assert (await connect(where, path, browser, origin=origin))[0].get("code") != 1008
    await allowing.sdk.close()


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    ("fetch_site", "origin", "is_open"),
    [
        (b"same-origin", HOME, True),
        (b"", HOME, False),
        (b"none", HOME, False),
        (b"same-site", WWW, False),
        (b"cross-site", EVIL, False),
        (b"same-origin,cross-site", EVIL, False),
    ],
)
async def test_behind_a_proxy_that_changes_the_host_sec_fetch_site_decides(
    site: Site, browser: httpx.AsyncClient, fetch_site: bytes, origin: bytes, is_open: bool
) -> None:
    sent = await connect(site, "/socket", browser, host=b"127.0.0.1:8000", origin=origin, sec_fetch_site=fetch_site)
    assert sent[0]["type"] == ("websocket.accept" if is_open else "websocket.close")


async def test_a_public_websocket_without_our_cookies_is_open_to_every_page(wire: Wire, clock: ManualClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    site = Site(wire, clock, app)
    sent = await connect(site, "/auth/news", None, origin=EVIL)
    assert [message["type"] for message in sent] == ["websocket.accept"]
    await site.sdk.close()


@pytest.mark.attack("A104")
@pytest.mark.parametrize("kind", ["response", "close", "bare close"])
async def test_a_refused_websocket_hands_out_the_new_cookies(
    wire: Wire, clock: ManualClock, browser: httpx.AsyncClient, kind: str
) -> None:
    """If the web server offers ``websocket.http.response``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if kind == "response":
            await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1008})

    clock.advance(hours=1)
    site = Site(wire, clock, app)
    extensions: dict[str, Any] = {} if kind == "bare close" else {"websocket.http.response": {}}
    sent = await converse(site, {**scope_of("websocket", "/socket", browser), "extensions": extensions})
    await site.sdk.close()
    if kind == "bare close":
        assert [message["type"] for message in sent] == ["websocket.close"]
        return
    start, body = sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404 if kind == "response" else 403)
    assert body == {"type": "websocket.http.response.body", "body": b""}
    assert cookie_names(start) == [AUTH, REFRESH]


@pytest.mark.parametrize("ending", ["complete", "failed"])
async def test_the_lifespan_closes_the_middlewares_own_client(wire: Wire, clock: ManualClock, ending: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": f"lifespan.shutdown.{ending}"})

    site = Site(wire, clock, app, client=None, endpoint="https://auth.example.com")
    client = site.middleware._own_client
    assert isinstance(client, AsyncClient)
    sent = await converse(site, {"type": "lifespan"}, {"type": "lifespan.shutdown"})
    assert sent == [{"type": f"lifespan.shutdown.{ending}"}]
    assert not client._http._clients
    await site.sdk.close()


async def test_the_lifespan_waits_for_a_refresh_in_progress(
    wire: Wire, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled refresh would lose the tokens that the server has just issued."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.shutdown.complete"})

    async def refresh_with(refresh_token: str, *, forwarded_for: str | None = None) -> Tokens:
        asked.set()
        await may_answer.wait()
        return Tokens("a.b.c", "next")

    asked, may_answer = asyncio.Event(), asyncio.Event()
    site = Site(wire, clock, app)
    monkeypatch.setattr(site.sdk, "refresh_with", refresh_with)
    checks = site.middleware._checks
    cancelled = asyncio.create_task(checks.refresh("ks_rt_old", None))
    await asked.wait()
    cancelled.cancel()
    shutdown = asyncio.create_task(converse(site, {"type": "lifespan"}))
    await asyncio.sleep(0)
    assert not shutdown.done()
    may_answer.set()
    await shutdown
    assert await checks.refresh("ks_rt_old", None) == Tokens("a.b.c", "next")
    await site.sdk.close()


async def test_a_mounted_application_knows_its_own_paths(site: Site) -> None:
    app = Starlette(routes=[Mount("/shop", app=site.middleware)])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://app.example.com") as browser:
        assert (await browser.get("/shop/auth/whoami")).status_code == 200
        response = await browser.get("/shop/orders", headers={"Accept": "text/html"})
    assert response.headers["location"] == "/shop/auth/login?redirect=/shop/orders"
