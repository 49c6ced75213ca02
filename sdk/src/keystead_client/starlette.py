"""Conveniences for Starlette applications. The middleware itself needs none of them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from keystead_client.auth import RedirectToLogin
from keystead_client.paths import redirect_target

__all__ = ["redirect_back", "redirect_to_login"]


def redirect_back(request: Request, default: str = "/") -> RedirectResponse:
    """Where the browser wanted to go before it was sent to the login page; only ever a path of this origin."""
    return RedirectResponse(redirect_target(request.query_params.get("redirect"), default), status_code=303)


async def redirect_to_login(request: Request, error: Exception) -> Response:
    """An exception handler for ``RedirectToLogin``, for applications that are wrapped in the middleware from outside.

    There Starlette would answer 500 before the middleware sees the exception. With ``app.add_middleware`` it is not
    needed. Raises whatever else it is given.
    """
    if not isinstance(error, RedirectToLogin):
        raise error
    return RedirectResponse(error.location, status_code=303)
