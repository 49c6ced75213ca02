"""A web application behind the SDK's middleware, to be run as a process: ``uvicorn tests.processes.shop:app``."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keystead_client import auth
from keystead_client.middleware import KeysteadMiddleware


async def is_ready(request: Request) -> Response:
    """Anybody may ask."""
    return Response(status_code=204)


async def orders(request: Request) -> Response:
    """Whose orders these are."""
    return JSONResponse((await auth.require_auth())["id"])


app = KeysteadMiddleware(Starlette(routes=[Route("/auth/ready", is_ready), Route("/orders", orders)]))
