"""Logging in and out, and asking who is there, inside a WSGI application behind its ``KeysteadMiddleware``.

The functions of :mod:`keystead_client.auth` by the same names, without ``await``; they raise the same. What is
asynchronous in such an application (an ``async def`` view of Django or Flask) may await those instead.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

from keystead_client import auth as awaited
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
from keystead_client.awaiting import plain
from keystead_client.browser import current_browser
from keystead_client.gate import User

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

T = TypeVar("T")


def login(email: str, password: str, *, brand: str | None = None) -> AuthResult:
    """Logs in and sets both cookies on the response; whatever session the browser brought is replaced, and ended.

    Never raises for a refusal: ``error`` tells. Raises ``RuntimeError`` when the response has begun.
    """
    return _complete(plain(awaited.login)(email, password, brand=brand))


def logout() -> AuthResult:
    """Ends the session on the server and deletes both cookies.

    The cookies go even where the server cannot be reached; then ``error`` tells that the session may live on there.
    """
    return _complete(plain(awaited.logout)())


def refresh_tokens() -> AuthResult:
    """New tokens now, not when they are due. ``TOKEN_EXPIRED``: there is no session, or it is over."""
    return _complete(plain(awaited.refresh_tokens)())


def require_auth(redirect_to: str | None = None, mode: Literal["redirect", "raise"] = "redirect") -> User:
    """The user who is logged in.

    Nobody is: raises :class:`RedirectToLogin` to ``redirect_to``, or ``NotAuthenticated`` with ``mode="raise"``. The
    server cannot tell: raises its error, which the middleware answers with 503. ``ValueError`` for another mode.
    ``redirect_to`` is a path of this origin, or an address at this or an allowed one; anything else leads to the
    middleware's ``login_path``, as none does.
    """
    return _complete(plain(awaited.require_auth)(redirect_to, mode))


def get_user() -> User | None:
    """Who is logged in; None: nobody, or the server cannot tell."""
    return _complete(plain(awaited.get_user)())


def logged_in() -> bool:
    """Whether somebody is logged in: the tokens are checked, a cookie alone is not enough."""
    return _complete(plain(awaited.logged_in)())


def _complete(coroutine: Coroutine[Any, Any, T]) -> T:
    browser = current_browser.get(None)
    # Said before anything is sent: a request that is broken off half way may have been served.
    if browser is not None and not browser.gate.is_for_threads:
        coroutine.close()
        raise RuntimeError("this application speaks ASGI: await the functions of keystead_client.auth")
    return run_sync(coroutine)
