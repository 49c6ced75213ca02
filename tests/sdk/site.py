"""A web application behind ``KeysteadMiddleware``, its browsers, and the wire between it and the real server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from keystead.context import Server
from keystead.web.app import Application
from keystead_client import auth
from keystead_client.async_client import AsyncClient
from keystead_client.middleware import App, KeysteadMiddleware
from tests.clocks import ManualClock

ADDRESS = "198.51.100.23"
AUTH, REFRESH = "keystead_auth_token", "keystead_refresh_token"
OPERATIONS = ("createMe", "getAccessToken", "refreshToken", "login", "logout", "me", "health")


class Wire(httpx.AsyncBaseTransport):
    """To the server in this process; counts what goes over it, and can be cut."""

    def __init__(self, application: Application) -> None:
        self._transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
        self.is_cut = False
        self.is_used = asyncio.Event()
        self.sent: Counter[str] = Counter()
        self.addresses: set[str | None] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        document = json.loads(request.content)["query"]
        self.sent[next(name for name in OPERATIONS if name in document)] += 1
        self.addresses.add(request.headers.get("x-forwarded-for"))
        self.is_used.set()
        if self.is_cut:
            raise httpx.ConnectError("the wire is cut")
        return await self._transport.handle_async_request(request)


class Site:
    """The application, its middleware, and what has happened inside."""

    def __init__(self, wire: Wire, clock: ManualClock, app: App | None = None, **options: Any) -> None:
        self.wire = wire
        self.clock = clock
        self.done: list[str] = []
        self.seen_headers: list[str] = []
        self.sdk = AsyncClient("https://auth.example.com", transport=wire, retries=0, brand=options.get("brand"))
        options = {"client": self.sdk, "clock": lambda: clock.now().timestamp(), **options}
        self.middleware = KeysteadMiddleware(app or self._application(), **options)

    def browser(self, origin: str = "https://app.example.com", *, address: str = ADDRESS) -> httpx.AsyncClient:
        """A new browser with an empty cookie jar; it follows no redirect by itself."""
        transport = httpx.ASGITransport(app=self.middleware, client=(address, 50_000))
        return httpx.AsyncClient(transport=transport, base_url=origin, headers={"Accept": "text/html"})

    def _application(self) -> Starlette:
        page = Route("/{path:path}", self.page, methods=["GET", "POST"])
        return Starlette(
            routes=[
                Route("/auth/login", self.login, methods=["POST"]),
                Route("/auth/logout", self.logout, methods=["POST"]),
                Route("/auth/refresh", self.refresh, methods=["POST"]),
                Route("/auth/whoami", self.whoami),
                Route("/auth/members", self.members),
                Route("/own-cookies", self.own_cookies),
                Route("/stream", self.stream),
                WebSocketRoute("/socket", self.socket),
                page,
            ]
        )

    async def page(self, request: Request) -> Response:
        self.seen_headers = [name for name in request.headers if "keystead" in name]
        return JSONResponse({"path": request.url.path, "user": dict(await auth.get_user() or {})})

    async def login(self, request: Request) -> Response:
        given = await request.json()
        return _shown(await auth.login(given["email"], given["password"]))

    async def logout(self, request: Request) -> Response:
        return _shown(await auth.logout())

    async def refresh(self, request: Request) -> Response:
        return _shown(await auth.refresh_tokens())

    async def whoami(self, request: Request) -> Response:
        return JSONResponse({"logged_in": await auth.logged_in(), "token": auth.get_auth_token()})

    async def members(self, request: Request) -> Response:
        try:
            user = await auth.require_auth(mode="raise" if "raise" in request.query_params else "redirect")
        except auth.NotAuthenticated:
            return PlainTextResponse("stranger", 418)
        return PlainTextResponse(user["id"])

    async def own_cookies(self, request: Request) -> Response:
        response = PlainTextResponse("baked")
        response.set_cookie("theme", "dark")
        response.set_cookie(AUTH, "chosen-by-the-application")
        response.headers["Cache-Control"] = "public, max-age=600"
        return response

    async def stream(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            for part in ("one ", "two ", (await auth.require_auth())["email"]):
                self.done.append(part)
                yield part

        return StreamingResponse(parts(), background=BackgroundTask(self.done.append, "background"))

    async def socket(self, socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text((await auth.require_auth())["email"])
        await socket.close()


async def make_wire(server: Server) -> Wire:
    """To the application of an open server."""
    application = Application(server.settings)
    await application.open(server)
    return Wire(application)


def set_cookies(response: httpx.Response) -> dict[str, str]:
    """The ``Set-Cookie`` headers by the cookie's name; a name that occurs twice fails the test."""
    headers = response.headers.get_list("set-cookie")
    named = {header.partition("=")[0].strip(): header for header in headers}
    assert len(named) == len(headers)
    return named


def given_cookies(response: httpx.Response) -> dict[str, str]:
    """The values of the cookies that a response sets."""
    return {name: header.partition("=")[2].partition(";")[0] for name, header in set_cookies(response).items()}


def _shown(result: auth.AuthResult) -> Response:
    user, error = result.user, result.error
    return JSONResponse({"success": result.success, "user": user and dict(user), "code": error and error.code})
