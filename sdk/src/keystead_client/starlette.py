"""Conveniences for Starlette applications. The middleware itself needs none of them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse

from keystead_client.paths import redirect_target

__all__ = ["redirect_back"]


def redirect_back(request: Request, default: str = "/") -> RedirectResponse:
    """Where the browser wanted to go before it was sent to the login page; only ever a path of this origin."""
    return RedirectResponse(redirect_target(request.query_params.get("redirect"), default), status_code=303)
