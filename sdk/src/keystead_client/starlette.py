"""A helper for Starlette applications. The middleware itself needs no framework."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse

from keystead_client._access_rules import redirect_target

__all__ = ["redirect_back"]


def redirect_back(request: Request, default: str = "/") -> RedirectResponse:
    """Redirect to the page before the login, from the query parameter ``redirect``; only to a path of this origin."""
    return RedirectResponse(redirect_target(request.query_params.get("redirect"), default), status_code=303)
