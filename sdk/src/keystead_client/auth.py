"""Logging in and out, and asking who is there, inside an application behind ``KeysteadMiddleware``.

Every function speaks of the request that is being served; the middleware says which one that is, through a context
variable. Called outside a request they raise ``RuntimeError``. What has to be awaited, and is not, is neither true nor
false, and turns the answer to the request into an error, with the exceptions that ``keystead_client.awaiting`` names.

    RedirectToLogin     what require_auth raises, and the middleware turns into a redirect (or a 401 for programs)
    NotAuthenticated    what require_auth(mode="raise") raises
    ForeignRequest      what login, logout and refresh_tokens raise where a page of another site asks for them, and the
                        middleware turns into a 403
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from keystead_client._transport import LOGGER, one_line
from keystead_client.awaiting import plain, to_be_awaited
from keystead_client.browser import Browser, current_browser
from keystead_client.cookies import CookieTokens
from keystead_client.ended import ForeignRequest, RedirectToLogin
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
from keystead_client.gate import User
from keystead_client.paths import redirect_target

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

ErrorCode = Literal["INVALID_CREDENTIALS", "TOKEN_EXPIRED", "NETWORK_ERROR", "SERVER_ERROR"]
_CREDENTIALS = ("email", "password")

WRONG: Final = "The e-mail address or the password is wrong."
LATER: Final = "This is not possible at the moment. Please try again in a minute."
TOO_MANY: Final = "These were too many attempts. Please wait a little and try again."
LONGEST_TYPED: Final = 4096
"""Characters of an address or a password that are sent; the server takes 256."""


@dataclass(frozen=True, slots=True)
class AuthError:
    """Why something did not succeed.

    ``message`` is a sentence for who uses the application, ``cause`` what its operator has to know, which is none of a
    user's business. Neither holds a secret.
    """

    code: ErrorCode
    message: str
    cause: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AuthResult:
    """What became of a login, a logout or a refresh."""

    success: bool
    user: User | None = None
    auth_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    error: AuthError | None = None


@to_be_awaited
async def login(email: str, password: str, *, brand: str | None = None) -> AuthResult:
    """Logs in and sets both cookies on the response; whatever session the browser brought is replaced, and ended.

    Never raises for a refusal: ``error`` tells. Raises ``RuntimeError`` when the response has begun.
    """
    browser = _browser()
    browser.must_not_have_answered()
    browser.must_not_be_foreign()
    if not (_may_be_typed(email) and _may_be_typed(password)):
        return AuthResult(False, error=AuthError("INVALID_CREDENTIALS", WRONG))
    try:
        await browser.log_in(email, password, brand)
    except KeysteadError as error:
        explained = _explain(error)
        # An outage is written once, where it is noticed; how many attempts are too many is no news.
        if explained.code == "SERVER_ERROR" and not isinstance(error, ServerError | Unauthorized | RateLimited):
            LOGGER.warning("A login failed: %s", one_line(error.message))
        return AuthResult(False, error=explained)
    return await _result(browser)


@to_be_awaited
async def logout() -> AuthResult:
    """Ends the session on the server and deletes both cookies.

    The cookies go even where the server cannot be reached; then ``error`` tells that the session may live on there.
    """
    browser = _browser()
    browser.must_not_have_answered()
    browser.must_not_be_foreign()
    try:
        await browser.log_out()
    except KeysteadError as error:
        return AuthResult(False, error=_explain(error))
    return AuthResult(True)


@to_be_awaited
async def refresh_tokens() -> AuthResult:
    """New tokens now, not when they are due. ``TOKEN_EXPIRED``: there is no session, or it is over."""
    browser = _browser()
    browser.must_not_have_answered()
    browser.must_not_be_foreign()
    try:
        if not await browser.refresh():
            return AuthResult(False, error=AuthError("TOKEN_EXPIRED", "there is no session, or it is over"))
    except KeysteadError as error:
        return AuthResult(False, error=_explain(error))
    return await _result(browser)


@to_be_awaited
async def require_auth(redirect_to: str | None = None, mode: Literal["redirect", "raise"] = "redirect") -> User:
    """The user who is logged in.

    Nobody is: raises :class:`RedirectToLogin` to ``redirect_to``, or ``NotAuthenticated`` with ``mode="raise"``. The
    server cannot tell: raises its error, which the middleware answers with 503. ``ValueError`` for another mode.
    ``redirect_to`` is a path of this origin, or an address at this or an allowed one; anything else leads to the
    middleware's ``login_path``, as none does.
    """
    if mode not in ("redirect", "raise"):
        raise ValueError('mode: "redirect" or "raise"')
    browser = _browser()
    try:
        user = await browser.user()
    except KeysteadError as error:
        browser.refusal = error
        raise
    if user is not None:
        return user
    if mode == "raise":
        raise NotAuthenticated("nobody is logged in")
    browser.refusal = RedirectToLogin(browser.location_of_login(redirect_to))
    raise browser.refusal


@to_be_awaited
async def get_user() -> User | None:
    """Who is logged in; None: nobody, or the server cannot tell."""
    try:
        return await _browser().user()
    except KeysteadError:
        return None


@to_be_awaited
async def logged_in() -> bool:
    """Whether somebody is logged in: the tokens are checked, a cookie alone is not enough."""
    return await plain(get_user)() is not None


def get_auth_token() -> str | None:
    """The access token as the browser holds it (or will, after this response). Not checked."""
    return _brought().auth_token


def get_refresh_token() -> str | None:
    """The refresh token as the browser holds it (or will, after this response). Not checked."""
    return _brought().refresh_token


def _browser() -> Browser:
    try:
        return current_browser.get()
    except LookupError:
        raise RuntimeError("no request is being served: is KeysteadMiddleware around the application?") from None


def _brought() -> CookieTokens:
    browser = _browser()
    browser.must_be_personal()
    return browser.tokens


async def _result(browser: Browser) -> AuthResult:
    try:
        user = await browser.user()
    except KeysteadError as error:
        return AuthResult(False, error=_explain(error))
    if user is None:
        return AuthResult(False, error=AuthError("TOKEN_EXPIRED", "nobody is logged in"))
    return AuthResult(True, user, browser.tokens.auth_token, browser.tokens.refresh_token)


def _explain(error: KeysteadError) -> AuthError:
    # What cannot be an address or a password at all is the user's to mend, as a wrong one is.
    if isinstance(error, InvalidCredentials) or (isinstance(error, BadUserInput) and error.field in _CREDENTIALS):
        return AuthError("INVALID_CREDENTIALS", error.message)
    if isinstance(error, NetworkError):
        return AuthError("NETWORK_ERROR", LATER, error.message)
    if isinstance(error, NotAuthenticated) and not isinstance(error, Unauthorized):
        return AuthError("TOKEN_EXPIRED", error.message)
    return AuthError("SERVER_ERROR", TOO_MANY if isinstance(error, RateLimited) else LATER, error.message)


def _may_be_typed(text: object) -> bool:
    """Whether somebody can have entered it into a form: the server refuses a request that holds anything else."""
    return (
        isinstance(text, str)
        and len(text) <= LONGEST_TYPED
        and not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text)
    )
