"""Log in and out, and ask for the user, in an application behind ``KeysteadMiddleware``.

Every function is about the request being served, which the middleware keeps in a context variable. Outside a request
they raise ``RuntimeError``. ``login``, ``logout`` and ``refresh_tokens`` raise ``ForeignRequest`` (403) for requests of
other origins. A coroutine that is not awaited is neither true nor false, and fails the response.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, Literal, ParamSpec, TypeVar

from keystead_client._access_rules import redirect_target
from keystead_client._checks import User
from keystead_client._request import ForeignRequest, RedirectToLogin, RequestState, current_request
from keystead_client._transport import LOGGER, one_line
from keystead_client.cookies import CookieTokens
from keystead_client.errors import (
    BadUserInput,
    InvalidCredentials,
    KeysteadError,
    NetworkError,
    NotAuthenticated,
    RateLimited,
    ServerError,
    Unauthorized,
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
ErrorCode = Literal["INVALID_CREDENTIALS", "TOKEN_EXPIRED", "NETWORK_ERROR", "SERVER_ERROR"]

WRONG_CREDENTIALS: Final = "The e-mail address or the password is wrong."
TRY_LATER: Final = "This is not possible at the moment. Please try again in a minute."
TOO_MANY: Final = "These were too many attempts. Please wait a little and try again."
_UNTYPEABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
MAX_TYPED: Final = 4096
"""Characters of an address or a password that are sent; the server accepts 256."""


@dataclass(frozen=True, slots=True)
class AuthError:
    """Why a call failed. Neither text contains a secret.

    :param message: a sentence for the user of the application.
    :param cause: details for its operator; do not show them to users.
    """

    code: ErrorCode
    message: str
    cause: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AuthResult:
    """The result of a login, a logout or a refresh."""

    success: bool
    user: User | None = None
    auth_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    error: AuthError | None = None


_NO_SESSION: Final = AuthResult(False, error=AuthError("TOKEN_EXPIRED", "there is no session, or it is over"))


class _Call(Coroutine[Any, Any, T]):
    """Guard against a forgotten ``await``: ``bool()`` raises, and the response fails while a call is not awaited."""

    __slots__ = ("_coroutine", "_name", "_unawaited")

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, T], unawaited: list[str]) -> None:
        self._name = name
        self._coroutine = coroutine
        self._unawaited: list[str] | None = unawaited
        unawaited.append(name)

    def __bool__(self) -> Literal[True]:
        # The repr of a task tests its coroutine (Python 3.13), also before the task runs.
        if self._unawaited is not None and sys._getframe(1).f_globals.get("__name__") != "asyncio.base_tasks":
            raise TypeError(f"{self._name}() has not been awaited: await it, or use keystead_client.wsgi.auth")
        return True

    def __await__(self) -> Generator[Any, Any, T]:
        self._start()
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        self._start()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._start()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._start()
        self._coroutine.close()

    def _start(self) -> None:
        unawaited, self._unawaited = self._unawaited, None
        if unawaited and self._name in unawaited:
            unawaited.remove(self._name)


def _must_await(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        request = current_request.get(None)
        return _Call(function.__name__, function(*args, **kwargs), [] if request is None else request.unawaited)

    # Frameworks test whether to call a function in a thread.
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(call)
    call._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return call


@_must_await
async def login(email: str, password: str, *, brand: str | None = None) -> AuthResult:
    """Log in and set both cookies on the response. The session the browser had ends.

    A failed login is in ``error``.

    :raises RuntimeError: the response has begun.
    """
    request = _request()
    request.require_settable_cookies()
    if not (_can_be_typed(email) and _can_be_typed(password)):
        return AuthResult(False, error=AuthError("INVALID_CREDENTIALS", WRONG_CREDENTIALS))
    try:
        await request.log_in(email, password, brand)
        return await _result(request)
    except KeysteadError as error:
        explained = _explain(error)
        # Outages are logged where they are noticed; too many attempts are not the operator's problem.
        if explained.code == "SERVER_ERROR" and not isinstance(error, ServerError | Unauthorized | RateLimited):
            LOGGER.warning("A login failed: %s", one_line(error.message))
        return AuthResult(False, error=explained)


@_must_await
async def logout() -> AuthResult:
    """End the session on the server and delete both cookies.

    If the server cannot be reached, the cookies are deleted all the same, and ``error`` says why the session may still
    exist on the server.
    """
    request = _request()
    request.require_settable_cookies()
    try:
        await request.log_out()
    except KeysteadError as error:
        return AuthResult(False, error=_explain(error))
    return AuthResult(True)


@_must_await
async def refresh_tokens() -> AuthResult:
    """Rotate the tokens now. ``TOKEN_EXPIRED``: there is no session, or it is over."""
    request = _request()
    request.require_settable_cookies()
    try:
        return await _result(request) if await request.refresh() else _NO_SESSION
    except KeysteadError as error:
        return AuthResult(False, error=_explain(error))


@_must_await
async def require_auth(redirect_to: str | None = None, mode: Literal["redirect", "raise"] = "redirect") -> User:
    """Return the logged-in user.

    :param redirect_to: a login page other than the middleware's ``login_path``: a path of this origin, or a URL of this
        or an allowed origin. Anything else is ignored.
    :raises RedirectToLogin: no user is logged in; ``NotAuthenticated`` with ``mode="raise"``.
    :raises KeysteadError: the server cannot say; the middleware answers 503.
    :raises ValueError: unknown ``mode``.
    """
    if mode not in ("redirect", "raise"):
        raise ValueError('mode must be "redirect" or "raise"')
    request = _request()
    try:
        user = await request.user()
    except KeysteadError as error:
        request.rejection = error
        raise
    if user is not None:
        return user
    if mode == "raise":
        raise NotAuthenticated("no user is logged in")
    request.rejection = RedirectToLogin(request.rules.login_location(request.incoming, redirect_to))
    raise request.rejection


@_must_await
async def get_user() -> User | None:
    """Return the logged-in user; None if there is none, or the server cannot say."""
    try:
        return await _request().user()
    except KeysteadError:
        return None


@_must_await
async def logged_in() -> bool:
    """Whether a user is logged in: the tokens are checked, a cookie alone is not enough."""
    return await get_user() is not None


def get_auth_token() -> str | None:
    """Return the access token as the browser has it (or will, after this response). Not checked."""
    return _cookie_tokens().auth_token


def get_refresh_token() -> str | None:
    """Return the refresh token as the browser has it (or will, after this response). Not checked."""
    return _cookie_tokens().refresh_token


def _request() -> RequestState:
    try:
        return current_request.get()
    except LookupError:
        raise RuntimeError("no request is being served: is KeysteadMiddleware around the application?") from None


def _cookie_tokens() -> CookieTokens:
    request = _request()
    request.make_personal()
    return request.tokens


async def _result(request: RequestState) -> AuthResult:
    user = await request.user()
    if user is None:
        return _NO_SESSION
    return AuthResult(True, user, request.tokens.auth_token, request.tokens.refresh_token)


def _explain(error: KeysteadError) -> AuthError:
    # Malformed input is the user's to correct, like a wrong password.
    is_malformed = isinstance(error, BadUserInput) and error.field in ("email", "password")
    if is_malformed or isinstance(error, InvalidCredentials):
        return AuthError("INVALID_CREDENTIALS", error.message)
    if isinstance(error, NetworkError):
        return AuthError("NETWORK_ERROR", TRY_LATER, error.message)
    if isinstance(error, NotAuthenticated) and not isinstance(error, Unauthorized):
        return AuthError("TOKEN_EXPIRED", error.message)
    return AuthError("SERVER_ERROR", TOO_MANY if isinstance(error, RateLimited) else TRY_LATER, error.message)


def _can_be_typed(text: object) -> bool:
    """Whether a form can contain it: the server rejects requests with NUL or lone surrogates."""
    return isinstance(text, str) and len(text) <= MAX_TYPED and not _UNTYPEABLE.search(text)
