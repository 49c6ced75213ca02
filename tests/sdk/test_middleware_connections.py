"""What is not a plain page: streams, background work, WebSockets, mounted applications, the lifespan."""

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


async def test_a_stream_flows_and_background_work_is_done(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(hours=1)
    response = await browser.get("/stream")
    assert response.text == "one two ann@example.com"
    assert site.done == ["one ", "two ", "ann@example.com", "background"]
    assert set(set_cookies(response)) == {AUTH, REFRESH}


async def test_parts_are_passed_on_one_by_one(site: Site, browser: httpx.AsyncClient) -> None:
    scope = _scope("http", "/stream", browser)
    sent = await _converse(site, scope, [{"type": "http.request", "body": b"", "more_body": False}])
    bodies = [message["body"] for message in sent if message["type"] == "http.response.body"]
    assert bodies == [b"one ", b"two ", b"ann@example.com", b""]


async def test_a_websocket_opens_for_who_is_logged_in(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    clock.advance(hours=1)
    sent = await _converse(site, _scope("websocket", "/socket", browser), [{"type": "websocket.connect"}])
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert sent[1]["text"] == "ann@example.com"
    names = [value.partition(b"=")[0].decode() for name, value in sent[0]["headers"] if name == b"set-cookie"]
    assert names == [AUTH, REFRESH]


@pytest.mark.attack("A101")
@pytest.mark.parametrize("path", ["/socket", "/auth/socket"])
async def test_a_foreign_page_opens_no_websocket_with_our_cookies(
    wire: Wire, clock: ManualClock, site: Site, browser: httpx.AsyncClient, path: str
) -> None:
    """Browsers send them along: neither CORS nor, from a sibling subdomain, SameSite keeps them from it."""
    named = Site(wire, clock, allowed_origins=("https://www.example.com",), public_paths=("/auth",))
    opened = {
        origin: (await _converse(where, _scope("websocket", path, browser, origin), [{"type": "websocket.connect"}]))[0]
        for where, origin in [
            (site, b"https://evil.example.com"),
            (site, b"null"),
            (site, b"https://app.example.com"),
            (named, b"https://www.example.com"),
        ]
    }
    assert opened[b"https://evil.example.com"] == {"type": "websocket.close", "code": 1008, "reason": ""}
    assert opened[b"null"] == {"type": "websocket.close", "code": 1008, "reason": ""}
    # At the public path the application has nothing: it refuses by itself, without a code of ours.
    for origin in (b"https://app.example.com", b"https://www.example.com"):
        assert opened[origin].get("code") != 1008
    await named.sdk.close()


@pytest.mark.attack("A101")
@pytest.mark.parametrize(
    ("fetch_site", "origin", "is_open"),
    [
        (b"same-origin", b"https://app.example.com", True),
        (b"", b"https://app.example.com", False),
        (b"none", b"https://app.example.com", False),
        (b"same-site", b"https://www.example.com", False),
        (b"cross-site", b"https://evil.example", False),
        (b"same-origin,cross-site", b"https://evil.example", False),
    ],
)
async def test_behind_a_proxy_that_hides_our_host_the_browser_says_whose_page_opens_a_websocket(
    site: Site, browser: httpx.AsyncClient, fetch_site: bytes, origin: bytes, is_open: bool
) -> None:
    scope = _scope("websocket", "/socket", browser, origin)
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    told = [(b"sec-fetch-site", fetch_site)] if fetch_site else []
    scope = {**scope, "headers": [(b"host", b"127.0.0.1:8000"), *others, *told]}
    sent = await _converse(site, scope, [{"type": "websocket.connect"}])
    assert sent[0]["type"] == ("websocket.accept" if is_open else "websocket.close")


async def test_a_public_websocket_without_our_cookies_is_open_to_every_page(wire: Wire, clock: ManualClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    site = Site(wire, clock, app)
    async with site.browser() as nobody:
        scope = _scope("websocket", "/auth/news", nobody, b"https://else.example")
    sent = await _converse(site, scope, [{"type": "websocket.connect"}])
    assert [message["type"] for message in sent] == ["websocket.accept"]
    await site.sdk.close()


async def test_a_websocket_that_the_application_refuses_hands_out_the_cookies_too(
    wire: Wire, clock: ManualClock, browser: httpx.AsyncClient
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})

    clock.advance(hours=1)
    site = Site(wire, clock, app)
    sent = await _converse(site, _scope("websocket", "/socket", browser), [{"type": "websocket.connect"}])
    names = [value.partition(b"=")[0].decode() for name, value in sent[0]["headers"] if name == b"set-cookie"]
    assert names == [AUTH, REFRESH]
    await site.sdk.close()


async def test_a_websocket_is_refused_to_nobody_and_during_an_outage(
    site: Site, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    async with site.browser() as nobody:
        refused = await _converse(site, _scope("websocket", "/socket", nobody), [{"type": "websocket.connect"}])
    assert refused == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    clock.advance(seconds=2)
    site.wire.is_cut = True
    later = await _converse(site, _scope("websocket", "/socket", browser), [{"type": "websocket.connect"}])
    assert later == [{"type": "websocket.close", "code": 1013, "reason": ""}]


@pytest.mark.parametrize("ending", ["complete", "failed"])
async def test_the_lifespan_passes_and_closes_the_middlewares_own_client(
    wire: Wire, clock: ManualClock, ending: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": f"lifespan.shutdown.{ending}"})

    site = Site(wire, clock, app, client=None, endpoint="https://auth.example.com")
    client = site.middleware._own_client
    assert isinstance(client, AsyncClient)
    sent = await _converse(site, {"type": "lifespan"}, [{"type": "lifespan.shutdown"}])
    assert sent == [{"type": f"lifespan.shutdown.{ending}"}]
    assert not client._http._clients
    await site.sdk.close()


async def test_the_lifespan_ends_after_a_refresh_that_nobody_waits_for(
    wire: Wire, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off, it would lose the tokens that the server has just issued."""

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
    gone = asyncio.create_task(checks.refresh("ks_rt_old", None))
    await asked.wait()
    gone.cancel()
    shutdown = asyncio.create_task(_converse(site, {"type": "lifespan"}, []))
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


def _scope(kind: str, path: str, browser: httpx.AsyncClient, origin: bytes | None = None) -> dict[str, Any]:
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    more = [] if origin is None else [(b"origin", origin)]
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
        "headers": [(b"host", b"app.example.com"), (b"cookie", cookie.encode()), *more],
    }


async def _converse(site: Site, scope: dict[str, Any], incoming: list[Message]) -> list[Message]:
    sent: list[Message] = []
    waiting = iter(incoming)

    async def receive() -> Message:
        return next(waiting)

    async def send(message: Message) -> None:
        sent.append(message)

    await site.middleware(scope, receive, send)
    return sent
