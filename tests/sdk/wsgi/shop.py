"""A WSGI application behind its ``KeysteadMiddleware``, its browsers, and the wire to the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec
from wsgiref.types import WSGIApplication

import httpx

from keystead_client import Client
from keystead_client.auth import AuthResult
from keystead_client.wsgi import KeysteadMiddleware, auth
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.sdk.site import ADDRESS, Wire

P = ParamSpec("P")
ORIGIN = "https://app.example.com"
ANN = {"email": "ann@example.com", "password": PASSWORD}

seen: list[str] = []
"""What the views have met."""


def in_a_thread(test: Callable[P, None]) -> Callable[P, Awaitable[None]]:
    """Run the test as a worker of a web server: in a thread without an event loop."""

    @wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        await asyncio.to_thread(test, *args, **kwargs)

    return run


class WireForThreads(httpx.BaseTransport):
    """The wire of the event loop on which the server runs, for other threads."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._loop = asyncio.get_running_loop()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
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


def answer(path: str, given: Any, query: Mapping[str, str], environ: Mapping[str, Any]) -> dict[str, Any] | str:
    """The views that need nothing of a framework."""
    match path:
        case "/auth/login":
            return _shown(auth.login(given["email"], given["password"]))
        case "/auth/logout":
            return _shown(auth.logout())
        case "/auth/refresh":
            return _shown(auth.refresh_tokens())
        case "/auth/whoami":
            tokens = {"token": auth.get_auth_token(), "refresh": auth.get_refresh_token()}
            return {"logged_in": auth.logged_in(), **tokens}
        case "/auth/members":
            return str(auth.require_auth(redirect_to=query.get("to"))["id"])
        case "/auth/crash":
            raise ZeroDivisionError
    seen.extend(name for name in environ if "HTTP" in name and "KEYSTEAD" in name)
    return {"path": path, "user": dict(auth.get_user() or {})}


def stream() -> Iterator[str]:
    """The parts of a stream that asks for the user last."""
    for part in ("one ", "two "):
        seen.append(part)
        yield part
    yield auth.require_auth()["email"]


def note_closing() -> None:
    """Note who closes the stream."""
    seen.append(f"closed by {(auth.get_user() or {})['email']}")


def _shown(result: AuthResult) -> dict[str, Any]:
    user, error = result.user, result.error
    return {"success": result.success, "user": user and dict(user), "code": error and error.code}
