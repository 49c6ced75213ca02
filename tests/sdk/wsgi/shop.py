"""A WSGI application behind its ``KeysteadMiddleware``, its browsers, and the wire to the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec
from wsgiref.types import WSGIApplication

import httpx

from keystead_client import Client
from keystead_client.auth import AuthResult
from keystead_client.wsgi import KeysteadMiddleware
from tests.clocks import ManualClock
from tests.sdk.conftest import PASSWORD
from tests.sdk.site import ADDRESS, Wire

P = ParamSpec("P")
ORIGIN = "https://app.example.com"
ANN = {"email": "ann@example.com", "password": PASSWORD}


def in_a_thread(test: Callable[P, None]) -> Callable[P, Awaitable[None]]:
    """The test as a web server's worker runs an application: in a thread without an event loop."""

    @wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        await asyncio.to_thread(test, *args, **kwargs)

    return run


class WireForThreads(httpx.BaseTransport):
    """The wire of the event loop on which the server runs, for others than this loop."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._loop = asyncio.get_running_loop()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Keeps the thread waiting."""
        return asyncio.run_coroutine_threadsafe(self._ask(request), self._loop).result(30)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        response = await self.wire.handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())


class Shop:
    """The application and its middleware."""

    def __init__(self, way: WireForThreads, clock: ManualClock, app: WSGIApplication, **options: Any) -> None:
        self.wire = way.wire
        self.sdk = Client("https://auth.example.com", transport=way, retries=0)
        options = {"client": self.sdk, "clock": lambda: clock.now().timestamp(), **options}
        self.middleware = KeysteadMiddleware(app, **options)

    def browser(self, cookies: dict[str, str] | None = None, *, origin: str = ORIGIN) -> httpx.Client:
        """A new browser; it follows no redirect by itself."""
        transport = httpx.WSGITransport(app=self.middleware, remote_addr=ADDRESS)
        return httpx.Client(transport=transport, base_url=origin, headers={"Accept": "text/html"}, cookies=cookies)

    @contextmanager
    def logged_in(self) -> Iterator[httpx.Client]:
        """A browser in which Ann has logged in; the wire counts from here on."""
        with self.browser() as browser:
            response = browser.post("/auth/login", json=ANN)
            assert response.json()["success"], response.text
            self.wire.sent.clear()
            yield browser


def shown(result: AuthResult) -> dict[str, object]:
    """What an application's JSON tells of a result."""
    user, error = result.user, result.error
    return {"success": result.success, "user": user and dict(user), "code": error and error.code}
