"""Dependencies for FastAPI applications behind ``KeysteadMiddleware``.

@app.get("/api/orders")
async def orders(user: CurrentUser) -> list[Order]: ...
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException

from keystead_client import auth
from keystead_client.answers import whole_seconds
from keystead_client.errors import KeysteadError, NotAuthenticated
from keystead_client.gate import User

__all__ = ["CurrentUser", "OptionalUser", "PageUser", "current_user", "optional_user", "page_user"]


async def current_user() -> User:
    """The user who is logged in; else the answer is 401, or 503 where the server cannot tell."""
    try:
        return await auth.require_auth(mode="raise")
    except NotAuthenticated:
        raise HTTPException(401, "Not logged in", {"WWW-Authenticate": 'Cookie realm="keystead"'}) from None
    except KeysteadError as error:
        wait = {"Retry-After": whole_seconds(error.retry_after)}
        raise HTTPException(503, "Cannot tell who is logged in", wait) from None


async def optional_user() -> User | None:
    """The user who is logged in, or None."""
    return await auth.get_user()


async def page_user() -> User:
    """The user who is logged in; else the browser is sent to the login page."""
    return await auth.require_auth()


CurrentUser = Annotated[User, Depends(current_user)]
OptionalUser = Annotated[User | None, Depends(optional_user)]
PageUser = Annotated[User, Depends(page_user)]
