"""State of one request: the browser's tokens, the user they belong to, and the cookies of the response."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from keystead_client import cookies
from keystead_client._access_rules import AccessRules, IncomingRequest
from keystead_client._checks import TokenChecks, User
from keystead_client._transport import LOGGER
from keystead_client.errors import KeysteadError
from keystead_client.tokens import Tokens

_JSON: Final = (b"content-type", b"application/json")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")


class RequestEnded(Exception):
    """Ends a request: the middleware responds instead of the application."""


class RedirectToLogin(RequestEnded):
    """Ends a request with a redirect to the login page at ``location``."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


class ForeignRequest(RequestEnded):
    """Ends a cross-origin request that would change something (CSRF) with 403."""

    def __init__(self) -> None:
        super().__init__("a page of another site sent this request")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of the middleware itself; header names are in lower case."""

    status: int
    headers: cookies.RawHeaders
    body: bytes


def _error(status: int, code: str, message: str, *headers: tuple[bytes, bytes], is_api: bool) -> Answer:
    body = json.dumps({"error": {"code": code, "message": message}}) if is_api else message
    return _answer(status, body, _JSON if is_api else _TEXT, *headers)


def _answer(status: int, body: str, *headers: tuple[bytes, bytes]) -> Answer:
    length = (b"content-length", str(len(body.encode())).encode())
    return Answer(status, [*headers, length, (b"cache-control", b"no-store")], body.encode())


class RequestState:
    """One request of a browser. Not for concurrent tasks, except to read."""

    def __init__(self, rules: AccessRules, checks: TokenChecks, incoming: IncomingRequest) -> None:
        self.rules = rules
        self.checks = checks
        self.incoming = incoming
        self.tokens = cookies.read_cookies(incoming.cookies, rules.cookie_options)
        self.is_protected = not rules.is_public(incoming)
        self.is_cross_origin = rules.is_cross_origin(incoming)
        # Whether the response depends on the user: the page is protected, or the application asked for the user.
        self.is_personal = self.is_protected
        self.has_begun = False
        self.set_cookies: list[str] = []
        # What require_auth raised, and whether the framework's error page for it is being dropped.
        self.rejection: Exception | None = None
        self.is_suppressed = False
        self.unawaited: list[str] = []  # names of auth functions called and not yet awaited
        self.outage: KeysteadError | None = None  # why the tokens could not be checked
        # The refresh token of the request's cookies; None after a login or logout in this request, which always counts.
        self._brought = self.tokens.refresh_token
        self._user: User | None = None
        self._is_checked = False

    @property
    def has_tokens(self) -> bool:
        """Whether the browser sent any token."""
        return self.tokens.auth_token is not None or self.tokens.refresh_token is not None

    async def user(self) -> User | None:
        """Return the logged-in user, checked once per request. Anonymous users count only with ``allow_anonymous``.

        :raises KeysteadError: the tokens cannot be checked.
        """
        self.make_personal()
        if not self._is_checked:
            self._require_in_time()
            try:
                self._user = await self._check_tokens()
            except KeysteadError as error:
                self.outage = error
                raise
            self._is_checked = True
        user = self._user
        is_known = user is not None and (self.rules.allow_anonymous or user.get("is_anonymous") is False)
        return user if is_known else None

    async def require_access(self) -> None:
        """Enforce CSRF protection and, on protected paths, a login: raise what ``answer_to`` has a response to."""
        if self.is_cross_origin and self.has_tokens:
            raise ForeignRequest
        if self.is_protected and await self.user() is None:
            raise RedirectToLogin(self.rules.login_location(self.incoming))

    async def refresh(self) -> bool:
        """Rotate the browser's tokens; False if there is no session, or it is over."""
        if self.tokens.refresh_token is None:
            return False
        renewed = await self.checks.refresh(self.tokens.refresh_token, self.incoming.forwarded_for)
        if renewed is None:
            self._drop_tokens()
            return False
        self._keep_tokens(renewed)
        return True

    async def log_in(self, email: str, password: str, brand: str | None) -> None:
        """Log in, and end the session the browser had. A failed login leaves that session."""
        address = self.incoming.forwarded_for
        tokens = await self.checks.log_in(email, password, brand or self.rules.brand, address)
        # Before the old session ends: a late response that deletes its cookies must not delete the new ones.
        if self._brought is not None:
            self.checks.replace(self._brought)
        old, self.tokens, self._brought = self.tokens, cookies.CookieTokens(), None
        self._keep_tokens(tokens)
        with suppress(KeysteadError):
            await self.checks.end_session(old, address)

    async def log_out(self) -> None:
        """End the session on the server and delete the cookies, even if the server cannot be reached."""
        self._brought = None
        if not self.has_tokens:
            return
        try:
            await self.checks.end_session(self.tokens, self.incoming.forwarded_for)
        finally:
            self._drop_tokens()

    def answer_to(self, error: Exception) -> Answer | None:
        """Return the middleware's response to an exception meant for it; None for the application's own errors."""
        is_api = self.rules.is_api(self.incoming)
        if isinstance(error, RedirectToLogin):
            # No WWW-Authenticate scheme that would make a browser ask for a password.
            challenge = (b"www-authenticate", b'Cookie realm="keystead"')
            if is_api:
                return _error(401, "UNAUTHENTICATED", "log in to use this", challenge, is_api=True)
            # 303: the browser fetches the login page with GET. Quoted against header injection.
            location = quote(error.location, safe="/?#[]@!$&'()*+,;=:%~").encode()
            return _answer(303, "", _TEXT, (b"location", location))
        if isinstance(error, RequestEnded):
            return _error(403, "FORBIDDEN", "This request was sent by a page of another site.", is_api=is_api)
        if isinstance(error, KeysteadError) and error is self.outage:
            message = "The sign-in service cannot be reached. Please try again in a moment."
            wait = (b"retry-after", retry_after(error).encode())
            return _error(503, "SERVICE_UNAVAILABLE", message, wait, is_api=is_api)
        return None

    def suppress(self, status: int) -> bool:
        """Whether to drop a response: a framework's 500 for an exception that the middleware will answer."""
        self.is_suppressed = self.rejection is not None and status == 500
        return self.is_suppressed

    def require_no_rejection(self) -> None:
        """Raise again what ``require_auth`` raised, if the framework's error page for it was dropped."""
        if self.is_suppressed and self.rejection is not None:
            raise self.rejection

    def require_awaited(self, status: int | None) -> None:
        """Raise ``RuntimeError`` if an ``auth`` call was not awaited; before an error page, only log it."""
        if self.unawaited and (status is None or status < 400):
            raise RuntimeError(f"auth.{self.unawaited[0]}() was called without `await`, so it did nothing")
        self.log_unawaited()

    def log_unawaited(self) -> None:
        """Log that an ``auth`` call was not awaited."""
        if self.unawaited:
            LOGGER.error("auth.%s() was called without `await`, so it did nothing", self.unawaited[0])
            self.unawaited.clear()

    def begin(self, headers: Iterable[tuple[bytes, bytes]], status: int | None) -> cookies.RawHeaders:
        """Return the response headers with the cookies, which cannot be set after that."""
        self.require_awaited(status)
        self.has_begun = True
        if self.set_cookies and self.checks.is_outdated(self.tokens.refresh_token, self._brought):
            self.set_cookies = []
        marked = cookies.private(headers) if self.is_personal else list(headers)
        if not self.set_cookies:
            return marked
        return cookies.with_cookies(marked, self.set_cookies, self.rules.cookie_options.names)

    def take_over(self) -> None:
        """Let the middleware respond instead of the application."""
        self.rejection, self.is_suppressed = None, False
        self.log_unawaited()

    def require_settable_cookies(self) -> None:
        """Raise ``RuntimeError`` if the response has begun, ``ForeignRequest`` if the request is cross-origin."""
        if self.has_begun:
            raise RuntimeError("the response has begun: cookies can no longer be set")
        if self.is_cross_origin:
            self.rejection = ForeignRequest()
            raise self.rejection

    def make_personal(self) -> None:
        """Note that the response depends on the user; ``RuntimeError`` if the response of a public page has begun."""
        if not self.is_personal:
            self._require_in_time()
        self.is_personal = True

    def _require_in_time(self) -> None:
        # A refresh now could not hand out the new tokens and would lose the session; and caches might keep the page.
        if self.has_begun:
            raise self.outage or RuntimeError(
                "the response has begun: ask for the user before it begins, for example with auth.get_user() in the "
                "view; later calls then work too"
            )

    def _keep_tokens(self, new: Tokens) -> None:
        # A standing session keeps its refresh token.
        tokens = Tokens(new.auth_token, new.refresh_token or self.tokens.refresh_token, new.kind)
        self.tokens = cookies.CookieTokens(tokens.auth_token, tokens.refresh_token)
        is_local = self.rules.is_local_development(self.incoming)
        self.set_cookies = cookies.set_cookies(tokens, self.rules.cookie_options, is_local=is_local)
        self._is_checked, self._user = False, None
        self.rules.warn_if_cookies_are_lost(self.incoming)

    def _drop_tokens(self) -> None:
        self.tokens = cookies.CookieTokens()
        is_local = self.rules.is_local_development(self.incoming)
        self.set_cookies = cookies.clear_cookies(self.rules.cookie_options, is_local=is_local)
        self._is_checked, self._user = True, None

    async def _check_tokens(self) -> User | None:
        if not self.has_tokens:
            return None
        is_fresh = Tokens(self.tokens.auth_token, None).is_fresh(self.rules.clock(), self.rules.refresh_buffer)
        is_refreshed = not is_fresh and self.tokens.refresh_token is not None
        if is_refreshed:
            try:
                if not await self.refresh():
                    return None
            except KeysteadError as error:
                # The old access token may still be valid for a minute, or a verifier may accept it.
                if self.tokens.auth_token is None:
                    raise
                self.outage = error
        user = await self._check_auth_token()
        # Rejected before it expired (revoked, or signed by another key): one refresh decides, never two.
        if user is None and not is_refreshed and await self.refresh():
            user = await self._check_auth_token()
        if user is None and self.checks.is_authoritative:
            self._drop_tokens()
        return user

    async def _check_auth_token(self) -> User | None:
        if self.tokens.auth_token is None:
            return None
        user = await self.checks.check(self.tokens.auth_token, self.incoming.forwarded_for)
        if user is None and self.outage is not None:
            # Expired while the refresh failed: the session may be valid, so the cookies stay.
            raise self.outage
        self.outage = None
        return user


def retry_after(error: KeysteadError) -> str:
    """Return ``Retry-After`` in whole seconds: at least what the server asks for, 5 if it does not say."""
    return str(5 if error.retry_after is None else max(1, math.ceil(error.retry_after)))


current_request: ContextVar[RequestState] = ContextVar("keystead_request")
"""Set by the middleware while a request is served."""
