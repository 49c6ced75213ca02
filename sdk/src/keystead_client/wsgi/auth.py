"""The functions of :mod:`keystead_client.auth` without ``await``, for a WSGI application.

They have the same names and raise the same. An ``async def`` view of Django or Flask can await the originals instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from keystead_client import auth as asynchronous
from keystead_client._request import current_request
from keystead_client._single_flight import run_sync
from keystead_client.auth import (
    AuthError,
    AuthResult,
    ForeignRequest,
    NotAuthenticated,
    RedirectToLogin,
    get_auth_token,
    get_refresh_token,
    redirect_target,
)

__all__ = [
    "AuthError",
    "AuthResult",
    "ForeignRequest",
    "NotAuthenticated",
    "RedirectToLogin",
    "get_auth_token",
    "get_refresh_token",
    "get_user",
    "logged_in",
    "login",
    "logout",
    "redirect_target",
    "refresh_tokens",
    "require_auth",
]

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    unguarded: Callable[P, Coroutine[Any, Any, T]] = inspect.unwrap(function)

    @wraps(unguarded)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        request = current_request.get(None)
        if request is not None and not request.checks.is_blocking:
            raise RuntimeError("this application speaks ASGI: await the functions of keystead_client.auth")
        return run_sync(unguarded(*args, **kwargs))

    return call


login = _blocking(asynchronous.login)
logout = _blocking(asynchronous.logout)
refresh_tokens = _blocking(asynchronous.refresh_tokens)
require_auth = _blocking(asynchronous.require_auth)
get_user = _blocking(asynchronous.get_user)
logged_in = _blocking(asynchronous.logged_in)
