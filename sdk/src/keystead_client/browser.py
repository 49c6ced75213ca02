"""One request of a browser: the tokens it brought, what became of them, and the cookies that answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field

from keystead_client.cookies import CookieOptions, CookieTokens, clear_cookies, set_cookies
from keystead_client.ended import ForeignRequest
from keystead_client.errors import KeysteadError, NotAuthenticated
from keystead_client.gate import Gate, User
from keystead_client.headers import RawHeaders, for_one_browser, with_cookies
from keystead_client.tokens import Tokens
from keystead_client.unawaited import Unawaited


@dataclass(slots=True)
class Browser:
    """The state of one request. Not for two tasks at once, except to read."""

    gate: Gate
    tokens: CookieTokens
    options: CookieOptions
    is_local: bool
    forwarded_for: str | None
    location_of_login: Callable[[str | None], str]
    """The address of the login page (another one, if given) that leads back to this request's page."""
    brand: str | None
    refresh_buffer: float
    clock: Callable[[], float]
    is_protected: bool
    """Whether only who is logged in may come in."""
    allow_anonymous: bool
    """Whether a user without an account counts as logged in."""
    is_foreign: bool
    """Whether a page of another site sent it, and it would change something."""
    is_personal: bool = field(init=False)
    """Whether the answer depends on who is logged in: the page is protected, or the application has asked."""
    has_begun_to_answer: bool = False
    set_cookies: list[str] = field(default_factory=list, repr=False)
    refusal: Exception | None = None
    """What ``require_auth`` raised, on its way through the application to the middleware."""
    is_withheld: bool = False
    """Whether the application's answer to that is being kept back."""
    unawaited: Unawaited = field(default_factory=Unawaited)
    """The calls of ``auth`` that the application has not awaited yet."""
    outage: KeysteadError | None = None
    """Why it could not be told whether the tokens are good."""
    warn_of_lost_cookies: Callable[[], None] | None = None
    """Where the browser will drop the cookies that are set: tells the operator."""
    _brought: str | None = field(init=False, repr=False)
    """The refresh token that the browser came with. None once somebody has logged in or out here: that counts."""
    _user: User | None = None
    _is_judged: bool = False

    def __post_init__(self) -> None:
        self.is_personal = self.is_protected
        self._brought = self.tokens.refresh_token

    @property
    def has_tokens(self) -> bool:
        """Whether the browser brought anything to be judged."""
        return self.tokens.auth_token is not None or self.tokens.refresh_token is not None

    async def user(self) -> User | None:
        """Who is logged in, asked once for each request. Raises the client's error where that cannot be told.

        Anybody can become an anonymous user, so that is nobody here, unless ``allow_anonymous``. Their cookies stay:
        they may become an account.
        """
        user = await self._holder()
        if user is None or self.allow_anonymous or user.get("is_anonymous") is False:
            return user
        return None

    async def refresh(self) -> bool:
        """New tokens for this browser; False: there is no session, or it is over. Raises the client's errors."""
        if self.tokens.refresh_token is None:
            return False
        renewed = await self.gate.refresh(self.tokens.refresh_token, self.forwarded_for)
        if renewed is None:
            self.drop()
            return False
        self.keep(renewed)
        return True

    async def log_in(self, email: str, password: str, brand: str | None) -> None:
        """Replaces whatever session the browser had, and ends it. Raises the client's errors, and then leaves it."""
        tokens = await self.gate.server.login_with(
            email, password, brand=brand or self.brand, forwarded_for=self.forwarded_for
        )
        # Before the session ends: answers that delete its cookies must not delete these.
        if self._brought is not None:
            self.gate.replace(self._brought)
        old, self.tokens, self._brought = self.tokens, CookieTokens(), None
        self.keep(tokens)
        # Nobody holds it any more but perhaps somebody who had planted or copied it. The login stands in any case.
        with suppress(KeysteadError):
            await self._end(old)

    async def log_out(self) -> None:
        """Deletes the cookies, whatever happens, and ends the session on the server. Raises the client's errors."""
        brought, self._brought = self.tokens, None
        if not self.has_tokens:
            return
        try:
            # The server takes only a living access token for it; a user it does not know needs no logout.
            if await self._holder() is not None and self.tokens.auth_token is not None:
                # A token that the refresh has just brought is of the same session.
                other = self.tokens.refresh_token if self.tokens == brought else None
                try:
                    await self.gate.server.logout_with(self.tokens.auth_token, forwarded_for=self.forwarded_for)
                except NotAuthenticated:
                    await self._end_that_of(other, self.tokens.auth_token)
                    raise
                await self._end_that_of(other, self.tokens.auth_token)
        finally:
            self.gate.forget(self.tokens.auth_token, self.tokens.refresh_token)
            self.drop()

    def keep(self, tokens: Tokens) -> None:
        """From now on these are the browser's tokens. A standing session keeps its refresh token."""
        refresh_token = tokens.refresh_token or self.tokens.refresh_token
        self.tokens = CookieTokens(tokens.auth_token, refresh_token)
        written = Tokens(tokens.auth_token, refresh_token, tokens.kind)
        self.set_cookies = set_cookies(written, self.options, is_local=self.is_local)
        self._is_judged, self._user = False, None
        if self.warn_of_lost_cookies is not None:
            self.warn_of_lost_cookies()

    def drop(self) -> None:
        """The browser's session is over: it shall forget its cookies."""
        self.tokens = CookieTokens()
        self.set_cookies = clear_cookies(self.options, is_local=self.is_local)
        self._is_judged, self._user = True, None

    def withhold(self, status: int) -> bool:
        """Whether an answer of this status is the framework's, to an exception that is meant for the middleware."""
        self.is_withheld = self.refusal is not None and status == 500
        return self.is_withheld

    def begin_to_answer(self, headers: Iterable[tuple[bytes, bytes]], status: int | None) -> RawHeaders:
        """The headers as they go out, with the cookies among them. From here on no cookie can be set any more.

        ``status`` is None where a WebSocket is accepted. Raises ``RuntimeError`` where an ``await`` was forgotten:
        nobody knows what the answer is worth.
        """
        self.unawaited.must_be_none(status)
        self.unawaited.begin_to_answer()
        self.has_begun_to_answer = True
        if self.set_cookies and self._is_late():
            self.set_cookies = []
        marked = for_one_browser(headers) if self.is_personal else list(headers)
        return with_cookies(marked, self.set_cookies, self.options.names) if self.set_cookies else marked

    def answer_instead(self) -> None:
        """From here on the middleware speaks, and what the application has forgotten does no harm."""
        self.refusal, self.is_withheld = None, False
        self.unawaited.tell()
        self.unawaited = Unawaited()

    def must_be_personal(self) -> None:
        """From here on the answer depends on who is logged in. Raises ``RuntimeError`` where it has begun otherwise."""
        if not self.is_personal:
            self._must_not_be_late()
        self.is_personal = True

    def must_not_be_foreign(self) -> None:
        """Raises ``ForeignRequest``: a page of another site logs nobody in or out."""
        if self.is_foreign:
            self.refusal = ForeignRequest()
            raise self.refusal

    def must_not_have_answered(self) -> None:
        """Raises ``RuntimeError`` when the headers are gone: cookies could not be set any more."""
        if self.has_begun_to_answer:
            raise RuntimeError("the response has begun: cookies can no longer be set")

    def _is_late(self) -> bool:
        """Whether the browser has newer cookies by now, from a refresh or a login elsewhere."""
        newest, brought = self.tokens.refresh_token, self._brought
        if newest is not None and self.gate.has_exchanged(newest):
            return True
        return brought is not None and self.gate.has_replaced(brought)

    def _must_not_be_late(self) -> None:
        # A refresh now would lose the new tokens, and with them the session; a cache might keep the answer.
        if not self.has_begun_to_answer:
            return
        if self.outage is not None:
            raise self.outage
        raise RuntimeError(
            "the response has begun: who is logged in has to be asked before it, for example by auth.get_user() in the "
            "view; after that it can be asked again at any time"
        )

    async def _end(self, session: CookieTokens) -> None:
        """Ends the session on the server, which takes only a living access token for it. Raises the client's errors."""
        if session.auth_token is not None and Tokens(session.auth_token, None).is_fresh(self.clock(), 0):
            with suppress(NotAuthenticated):
                await self.gate.server.logout_with(session.auth_token, forwarded_for=self.forwarded_for)
        await self._end_that_of(session.refresh_token, session.auth_token)

    async def _end_that_of(self, refresh_token: str | None, ended: str | None) -> None:
        """Ends the session of a refresh token, which may be another than that of the access token beside it: one of the
        two may have been planted. ``ended`` is that access token: where both are of one session, it is over already.
        Raises the client's errors."""
        renewed = refresh_token and await self.gate.refresh(refresh_token, self.forwarded_for)
        if renewed and renewed.auth_token is not None and renewed.auth_token != ended:
            # What is remembered of a refresh may be of the session that has just ended.
            with suppress(NotAuthenticated):
                await self.gate.server.logout_with(renewed.auth_token, forwarded_for=self.forwarded_for)

    async def _holder(self) -> User | None:
        """Whose session it is, anonymous or not."""
        self.must_be_personal()
        if not self._is_judged:
            self._must_not_be_late()
            try:
                self._user = await self._judge()
            except KeysteadError as error:
                self.outage = error
                raise
            self._is_judged = True
        return self._user

    async def _judge(self) -> User | None:
        if not self.has_tokens:
            return None
        has_tried = not self._is_fresh() and self.tokens.refresh_token is not None
        if has_tried and not await self._refreshed_if_possible():
            return None
        user = await self._check()
        if user is not None:
            return user
        # Refused before its time: revoked, or from another key. One refresh tells, never two.
        if not has_tried and await self.refresh():
            user = await self._check()
        if user is None and self.gate.speaks_for_the_server:
            self.drop()
        return user

    async def _refreshed_if_possible(self) -> bool:
        try:
            return await self.refresh()
        except KeysteadError as error:
            # The old access token may still have a minute, or a verifier that knows it.
            if self.tokens.auth_token is None:
                raise
            self.outage = error
            return True

    async def _check(self) -> User | None:
        if self.tokens.auth_token is None:
            return None
        user = await self.gate.check(self.tokens.auth_token, self.forwarded_for)
        if user is None and self.outage is not None:
            # Past its life while the refresh cannot be had: the session may be good, so the cookies stay.
            raise self.outage
        self.outage = None
        return user

    def _is_fresh(self) -> bool:
        return Tokens(self.tokens.auth_token, None).is_fresh(self.clock(), self.refresh_buffer)


current_browser: ContextVar[Browser] = ContextVar("keystead_browser")
"""Set by the middleware, for the time of a request."""
