"""GraphQL over HTTP as an ASGI application. Contract §1 gives the order of checks and the statuses:

method, content type, size, JSON (400 / 405 / 413 / 415), then credentials (401), then the document (400), then
execution. The first check that fails decides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any

from keystead.authentication import authenticate
from keystead.authentication.authenticate import Credentials, default_brand
from keystead.context import Context, RequestDetails, Server
from keystead.db.interface import OutcomeUnknown
from keystead.errors import MalformedRequest
from keystead.graphql.errors import Response, error_response
from keystead.graphql.executor.execute import Target, execute
from keystead.graphql.schema_cache import SchemaCache
from keystead.web.cors import Cors
from keystead.web.request_body import ClientGone, Receive, parse_request, read_body
from keystead.web.request_headers import NOTHING, HeaderReader, HeaderValues
from keystead.web.request_log import RequestLog

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Page = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON = b"application/json; charset=utf-8"
_GRAPHQL_JSON = b"application/graphql-response+json; charset=utf-8"
_NO_STORE = (b"cache-control", b"no-store")


class GraphQLEndpoint:
    """The ASGI application at ``/graphql``. ``page`` serves GraphiQL to browsers, if enabled."""

    def __init__(self, server: Server, schemas: SchemaCache, request_log: RequestLog, page: Page | None = None) -> None:
        self._server = server
        self._schemas = schemas
        self._request_log = request_log
        self._page = page
        self._headers = HeaderReader(server.settings)
        self._cors = Cors(server.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        method = scope["method"]
        if method == "OPTIONS":
            await self._cors.preflight(scope, send)
            return
        if method == "GET" and self._page is not None and _wants_page(scope):
            await self._page(scope, receive, send)
            return
        started = time.perf_counter()
        details = RequestDetails("")
        values: HeaderValues | None = None
        ctx: Context | None = None
        try:
            values = self._headers.read(scope["headers"])
            details = self._headers.details(scope, values)
            ctx, response = await self._answer(method, receive, values, details)
        except ClientGone:
            return
        except (asyncio.CancelledError, Exception) as error:
            if isinstance(error, asyncio.CancelledError):  # by a server that stops after waiting for this request
                error = OutcomeUnknown(cause="the server stopped before the request was answered")
            details = details if details.id else self._headers.details(scope, NOTHING)
            response = error_response(error, details.id)
        await self._send(send, response, values)
        self._request_log.record(method, response.status, time.perf_counter() - started, details, ctx)

    async def _answer(
        self, method: str, receive: Receive, values: HeaderValues, details: RequestDetails
    ) -> tuple[Context, Response]:
        _check_transport(method, values)
        request = parse_request(await read_body(receive, values.content_length))
        target = RequestTarget(self._server, self._schemas, details, values.require_single())
        await target.reload()
        ctx = target.ctx
        return ctx, await execute(target, request.query, request.variables, request.operation_name)

    async def _send(self, send: Send, response: Response, values: HeaderValues | None) -> None:
        body = response.content
        headers = [
            (b"content-type", _GRAPHQL_JSON if values and values.asks_for_graphql_json else _JSON),
            (b"content-length", str(len(body)).encode("ascii")),
            _NO_STORE,
        ]
        if response.headers:
            headers += [(name.lower().encode("ascii"), text.encode("ascii")) for name, text in response.headers.items()]
        if self._cors.is_on:
            headers += self._cors.headers(values.origin if values else None)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class RequestTarget(Target):
    """The caller of one request, by its credentials, and the schema of the brand that they name.

    A request without credentials starts with the fixed schema, which suffices for most of them; the default brand is
    looked up only for fields of entities.
    """

    __slots__ = ("_credentials", "_details", "_schemas", "_server")

    can_reload = True

    def __init__(self, server: Server, schemas: SchemaCache, details: RequestDetails, credentials: Credentials) -> None:
        """Caller and schema are set by the first :meth:`reload`."""
        self._server = server
        self._schemas = schemas
        self._details = details
        self._credentials = credentials

    async def reload(self) -> None:
        """Authenticate the credentials and take the schema of their brand.

        :raises AccessTokenRefused, KeyRefused, OriginRefused: as authentication does.
        """
        self.ctx = await authenticate.authenticate(self._server, self._details, self._credentials)
        self.version = await self._schemas.get(self.ctx.brand)
        self.is_partial = self.ctx.brand is None

    async def resolve(self) -> None:
        """Take the schema of the default brand, if any."""
        brand = await default_brand(self.ctx)
        self.ctx = replace(self.ctx, brand=brand)
        self.version = await self._schemas.get(brand)
        self.is_partial = False


def _check_transport(method: str, values: HeaderValues) -> None:
    if method != "POST":
        raise MalformedRequest("Only POST runs operations.", status=405)
    if values.content_type != "application/json" and not _is_json(values.content_type or ""):
        raise MalformedRequest("The Content-Type must be application/json.", status=415)
    if (values.content_encoding or "identity").lower() != "identity":
        raise MalformedRequest("Compressed bodies are not served.", status=415)


def _is_json(content_type: str) -> bool:
    media_type, _, parameters = content_type.partition(";")
    return media_type.strip(" \t").lower() == "application/json" and _is_utf8(parameters)


def _is_utf8(parameters: str) -> bool:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip(" \t").lower() == "charset" and value.strip(" \t").strip('"').lower() not in ("utf-8", "utf8"):
            return False
    return True


def _wants_page(scope: Scope) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
