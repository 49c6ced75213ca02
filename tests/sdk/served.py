"""A server in this process with one user, and clients of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

from keystead.context import ActiveBrand, Server
from keystead.web.app import Application
from keystead_client import AsyncClient
from tests.make import make_brand, make_brand_token, make_user

EMAIL = "ann@example.com"
PASSWORD = "rainbow123"
URL = "https://auth.example.com"


class Watched(httpx.AsyncBaseTransport):
    """Passes requests on and notes the names of their operations."""

    def __init__(self, inner: httpx.AsyncBaseTransport, sent: list[str]) -> None:
        self._inner = inner
        self._sent = sent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Note, then pass on."""
        words = json.loads(await request.aread())["query"].replace("(", " ").split()
        self._sent.append(words[1])
        return await self._inner.handle_async_request(request)


@dataclass
class Served:
    """The server, its brand, and the operations that clients have sent, in order."""

    brand: ActiveBrand
    brand_token: str
    server: Server
    application: Application
    sent: list[str] = field(default_factory=list)

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """The way to the server."""
        inner = httpx.ASGITransport(app=self.application, raise_app_exceptions=False, client=("192.0.2.7", 4711))
        return Watched(inner, self.sent)

    def client(self, **options: Any) -> AsyncClient:
        """A client whose clock is the server's."""
        options.setdefault("clock", lambda: self.server.clock.now().timestamp())
        return AsyncClient(URL, transport=self.transport, **options)


async def make_served(server: Server) -> Served:
    """An application on an open server; ann can log in."""
    brand = await make_brand(server)
    await make_user(server, brand, EMAIL, password=PASSWORD)
    token = await make_brand_token(server, brand)
    application = Application(server.settings)
    await application.open(server)
    return Served(brand, token.reveal(), server, application)
