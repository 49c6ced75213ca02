"""Dependencies and a redirect for FastAPI applications behind ``KeysteadMiddleware``.

@app.get("/api/orders")
async def orders(user: CurrentUser) -> list[Order]: ...
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.responses import RedirectResponse

from keystead_client import auth
from keystead_client._access_rules import redirect_target
from keystead_client._checks import User
from keystead_client._request import retry_after
from keystead_client.errors import KeysteadError, NotAuthenticated

__all__ = ["CurrentUser", "OptionalUser", "PageUser", "current_user", "optional_user", "page_user", "redirect_back"]


async def current_user() -> User:
    """Return the logged-in user; otherwise respond 401, or 503 if the server cannot say."""
    try:
        return await auth.require_auth(mode="raise")
    except NotAuthenticated:
        raise HTTPException(401, "Not logged in", {"WWW-Authenticate": 'Cookie realm="keystead"'}) from None
    except KeysteadError as error:
        raise HTTPException(503, "Cannot tell who is logged in", {"Retry-After": retry_after(error)}) from None


async def optional_user() -> User | None:
    """Return the logged-in user, or None."""
    return await auth.get_user()


async def page_user() -> User:
    """Return the logged-in user; otherwise redirect to the login page."""
    return await auth.require_auth()


CurrentUser = Annotated[User, Depends(current_user)]
OptionalUser = Annotated[User | None, Depends(optional_user)]
PageUser = Annotated[User, Depends(page_user)]


def redirect_back(request: Request, default: str = "/") -> RedirectResponse:
    """Redirect to the page before the login, from the query parameter ``redirect``; only to a path of this origin."""
    return RedirectResponse(redirect_target(request.query_params.get("redirect"), default), status_code=303)
