"""Composition root: settings in, an ASGI application out."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack
from functools import partial
from types import FrameType
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from keystead.context import Server
from keystead.db import migrate
from keystead.db.interface import ReadOnly, Unusable
from keystead.errors import KeysteadError, StartupError
from keystead.graphql.executor.execute import forget
from keystead.graphql.resolvers import load_resolvers
from keystead.graphql.resolvers.entities import load_entity_fields
from keystead.graphql.schema import load_fixed
from keystead.graphql.schema_cache import SchemaCache
from keystead.settings import Settings, load_settings
from keystead.web import logs, metrics
from keystead.web.bootstrap import open_server, warn_of_guessable_key, warn_of_missing_rights
from keystead.web.graphiql import graphiql_page, graphiql_routes
from keystead.web.graphql_endpoint import GraphQLEndpoint
from keystead.web.pages.endpoint import PREFIX, LinkPages
from keystead.web.request_log import RequestLog
from keystead.web.upkeep import Upkeep

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = structlog.get_logger("keystead.server")


class Application:
    """The ASGI application of one process; the lifespan opens its server."""

    def __init__(self, settings: Settings, *, is_worker: bool = False) -> None:
        self._settings = settings
        self._is_worker = is_worker
        self._graphql: GraphQLEndpoint | None = None
        self._link_pages: LinkPages | None = None
        self._server: Server | None = None
        self._stack = AsyncExitStack()
        self._is_draining = False
        self._routes = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/ready", self._ready),
                Route("/.well-known/jwks.json", self._jwks),
                *(graphiql_routes() if settings.graphiql else ()),
                *(self._mailbox_routes() if settings.mailbox else ()),
            ]
        )
        # A redirect to the path without its slash would contain the client's Host header.
        self._routes.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Dispatch by path. ``/graphql`` is the hot path."""
        if scope["type"] == "http":
            if scope["path"] == "/graphql" and self._graphql is not None:
                await self._graphql(scope, receive, send)
            elif scope["path"].startswith(PREFIX) and self._link_pages is not None:
                await self._link_pages(scope, receive, send)
            else:
                await self._routes(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def open(self, server: Server | None = None) -> Server:
        """Open the server, unless an open one is given (by tests), and start to answer."""
        if server is None:
            server = await self._stack.enter_async_context(open_server(self._settings, may_create=not self._is_worker))
            warn_of_guessable_key(server)
            await warn_of_missing_rights(server.db)
            upkeep = Upkeep(server)
            upkeep.start()
            self._stack.push_async_callback(upkeep.stop)
        metrics.watch_password_queue(lambda: _hashes(server))
        self._server = server
        page = graphiql_page if self._settings.graphiql else None
        schemas = SchemaCache(load_fixed(load_resolvers()), partial(load_entity_fields, server.db), on_evict=forget)
        self._graphql = GraphQLEndpoint(server, schemas, RequestLog(server), page)
        self._link_pages = LinkPages(server)
        return server

    async def close(self) -> None:
        """Stop the background tasks and close the database."""
        await self._stack.aclose()

    def _mailbox_routes(self) -> list[BaseRoute]:
        # Imported here: only the demo needs the templates of these pages.
        from keystead.web.mailbox import mailbox_routes

        return mailbox_routes(lambda: self._server)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            if self._server is None:
                await self.open()
        except StartupError as error:
            _log.error("cannot_start", reason=error.message)
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return
        self._drain_on_sigterm()
        # Everything allocated so far is permanent: exempt it from garbage collection.
        gc.collect()
        gc.freeze()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _drain_on_sigterm(self) -> None:
        """Report "not ready" after the signal, while uvicorn finishes the open requests."""
        previous = signal.getsignal(signal.SIGTERM)

        def drain(number: int, frame: FrameType | None) -> None:
            self._is_draining = True
            if callable(previous):
                previous(number, frame)

        signal.signal(signal.SIGTERM, drain)

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"up": True}, headers={"cache-control": "no-store"})

    async def _ready(self, _: Request) -> Response:
        reason = await self._why_not_ready()
        status = 503 if reason else 200
        body = {"ready": reason is None} | ({"reason": reason} if reason else {})
        return JSONResponse(body, status, headers={"cache-control": "no-store"})

    async def _why_not_ready(self) -> str | None:
        if self._server is None or self._is_draining:
            return "starting or stopping"
        try:
            await self._server.db.ping()
            return None if await migrate.is_served(self._server.db) else "the database's schema is not this release's"
        except ReadOnly:
            return "the database is read-only"
        except Unusable:
            return "the database's file was moved, replaced or damaged"
        except KeysteadError:
            return "the database cannot be reached"

    async def _jwks(self, _: Request) -> Response:
        if self._server is None:
            return PlainTextResponse("starting", 503)
        headers = {"cache-control": "public, max-age=60"}
        return Response(self._server.keyring.jwks, media_type="application/jwk-set+json", headers=headers)


def _hashes(server: Server) -> int:
    load = server.passwords.load
    return load.waiting + load.running


def create_app(settings: Settings, *, is_worker: bool = False) -> Application:
    """The ASGI application for these settings. A worker never creates a database: its parent has checked it."""
    return Application(settings, is_worker=is_worker)


def load_worker_settings(environ: Mapping[str, str]) -> Settings:
    """The settings, with those that ``keystead serve`` passes to its workers."""
    port = environ.get("_KEYSTEAD_PORT")
    defaults = {"base_url": f"http://localhost:{port}"} if port else {}
    pages = {name: environ.get(f"_KEYSTEAD_{name.upper()}") == "on" for name in ("graphiql", "mailbox")}
    return load_settings(environ, defaults=defaults, overrides=pages)


def from_environment(*, is_worker: bool = False) -> Application:
    """The ASGI application of a worker process, configured by the environment."""
    settings = load_worker_settings(os.environ)
    logs.configure(settings)
    for warning in settings.warnings:
        _log.warning("unknown_setting", reason=warning)
    if not settings.throttling:
        _log.warning("throttling_is_off", reason="KEYSTEAD_THROTTLING=off: mails to an address are not limited")
    return create_app(settings, is_worker=is_worker)
