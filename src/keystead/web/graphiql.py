"""GraphiQL for browsers, in the demo only: vendored files under a strict Content-Security-Policy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

_FOLDER: Final = Path(__file__).parent / "static" / "graphiql"
_MEDIA_TYPES: Final = {".js": "text/javascript", ".css": "text/css"}
# An allowlist: no request path becomes a file path.
_ASSETS: Final = {
    name: _MEDIA_TYPES[Path(name).suffix]
    for name in (
        "react.production.min.js",
        "react-dom.production.min.js",
        "graphiql.min.js",
        "graphiql.min.css",
        "start.js",
        "start.css",
    )
}
# No inline scripts. The editor of GraphiQL sets inline styles; its fonts are data: URLs in the style sheet.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "font-src data:",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


async def graphiql_page(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """ASGI application for a browser's ``GET /graphql``."""
    headers = _HEADERS | {"cache-control": "no-cache"}
    page = FileResponse(_FOLDER / "index.html", media_type="text/html", headers=headers)
    await page(scope, receive, send)


def graphiql_routes() -> list[BaseRoute]:
    """Routes of the page's scripts and styles."""
    return [Route("/graphql/static/{name}", _asset)]


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        return PlainTextResponse("Not found", 404)
    headers = _HEADERS | {"cache-control": "max-age=3600"}
    return FileResponse(_FOLDER / name, media_type=_ASSETS[name], headers=headers)
