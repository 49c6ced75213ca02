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


async def log_out(request: Request) -> Response:
    """Whether the server was told."""
    return JSONResponse((await auth.logout()).success)


app = KeysteadMiddleware(
    Starlette(
        routes=[
            Route("/auth/ready", is_ready),
            Route("/auth/logout", log_out, methods=["POST"]),
            Route("/orders", orders),
        ]
    )
)
