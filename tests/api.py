"""A client for tests: GraphQL through the whole application, from the headers to the database."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from keystead.context import Server
from keystead.settings import Settings
from keystead.web.app import Application
from keystead.web.connection_limits import ConnectionLimits
from keystead.web.http_protocol import ProtocolFactory

URL = "http://auth.example.com/graphql"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def data(self) -> Any:
        """The data; an answer with errors fails the test that asks for it."""
        assert "errors" not in self.body, self.body
        assert self.status == 200
        return self.body["data"]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors, perhaps none."""
        errors: list[dict[str, Any]] = self.body.get("errors", [])
        return errors

    @property
    def code(self) -> str | None:
        """The code of the first error."""
        return self.errors[0]["extensions"]["code"] if self.errors else None

    @property
    def extensions(self) -> dict[str, Any]:
        """The extensions of the first error."""
        extensions: dict[str, Any] = self.errors[0]["extensions"]
        return extensions


class Api:
    """Sends GraphQL to an application in this process."""

    def __init__(self, application: Application, server: Server) -> None:
        self.server = server
        transport = httpx.ASGITransport(app=application, raise_app_exceptions=False, client=("192.0.2.7", 4711))
        self.http = httpx.AsyncClient(transport=transport, base_url=URL.removesuffix("/graphql"))

    async def send(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        key: str | None = None,
        brand: str | None = None,
        headers: Mapping[str, str] | None = None,
        operation_name: str | None = None,
    ) -> Answer:
        """One operation, with the credentials that are given: access token, API key, brand token."""
        sent = {"Authorization": token, "keystead-api-key": key, "keystead-brand-authorization": brand}
        body: dict[str, Any] = {"query": query}
        if variables is not None:
            body["variables"] = variables
        if operation_name is not None:
            body["operationName"] = operation_name
        return await self.post(json=body, headers={**{k: v for k, v in sent.items() if v}, **(headers or {})})

    async def post(self, **request: Any) -> Answer:
        """A POST as httpx takes it."""
        response = await self.http.post("/graphql", **request)
        return Answer(response.status_code, response.json(), response.headers)


async def make_api(server: Server) -> Api:
    """The application of an open server, and a client for it. Nothing runs in the background."""
    application = Application(server.settings)
    await application.open(server)
    return Api(application, server)


@asynccontextmanager
async def listening(settings: Settings, server: Server, limits: ConnectionLimits | None = None) -> AsyncIterator[str]:
    """The application behind real HTTP on loopback; the URL of its root."""
    application = Application(settings)
    await application.open(server)
    limits = limits or ConnectionLimits()
    config = uvicorn.Config(
        application,
        port=0,
        lifespan="off",
        ws="none",
        http=ProtocolFactory(limits),  # type: ignore[arg-type]
        timeout_keep_alive=math.ceil(limits.keep_alive),
        log_config=None,
        server_header=False,
    )
    running = uvicorn.Server(config)
    # `serve` would take the signals of the test runner; its two halves without them are these.
    config.load()
    running.lifespan = config.lifespan_class(config)
    await running.startup()
    task = asyncio.create_task(running.main_loop())
    port = running.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        await task
        await running.shutdown()
