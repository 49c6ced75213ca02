"""What one client knows of its session, and the flows that use it. Without I/O; safe between threads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from keystead_client import calls, documents
from keystead_client.endpoint import Endpoint
from keystead_client.errors import (
    NetworkError,
    NotAuthenticated,
    RateLimited,
    RefreshTokenExpired,
    RefreshTokenInvalid,
    RefreshTokenReused,
    RequestError,
    ServerError,
    Unauthenticated,
)
from keystead_client.flow import Flow, Question, Refresh, ask
from keystead_client.kept import Kept, is_of_another_session, is_of_same_user
from keystead_client.tokens import Kind, Tokens, TokenStore


class Session:
    """One session at most, in a token store."""

    def __init__(
        self, endpoint: Endpoint, store: TokenStore, retries: int, refresh_buffer: float, now: Callable[[], float]
    ) -> None:
        self.endpoint = endpoint
        self.retries = retries
        self._kept = Kept(store)
        self._buffer = refresh_buffer
        self._now = now
        self._server_is_ahead = 0.0

    @property
    def tokens(self) -> Tokens | None:
        """The tokens as they are now."""
        return self._kept.load()

    def log_in(self, email: str, password: str, brand: str | None, kind: Kind) -> Flow[Tokens]:
        """A new session takes the place of the one before, which goes on at the server."""
        headers = self.endpoint.headers()
        given = yield from calls.log_in(email, password, brand=brand, kind=kind, headers=headers, retries=self.retries)
        self.begin(given)
        return given

    def create_me(self) -> Flow[Tokens]:
        """A new anonymous user."""
        given = yield from calls.create_me(headers=self.endpoint.headers(), retries=self.retries)
        self.begin(given)
        return given

    def log_out(self) -> Flow[None]:
        """The tokens are forgotten whatever the server answers; a session that is over already is logged out."""
        begun, tokens = self._kept.begun, None
        try:
            begun, tokens = self._kept.look()
            if tokens is not None:
                yield from self._execute(Question(documents.LOG_OUT), tokens, begun)
        except NotAuthenticated:
            pass
        finally:
            self._kept.leave(begun, tokens)

    def log_out_everywhere(self, force: bool) -> Flow[None]:
        """The tokens are kept where the server refuses."""
        begun, tokens = self._kept.look()
        yield from self._execute(Question(documents.LOG_OUT_EVERYWHERE, {"force": force}), tokens)
        self._kept.leave(begun, tokens)

    def execute(self, question: Question) -> Flow[dict[str, Any]]:
        """The ``data``, after at most one refresh before it and one after a 401, which repeats it once."""
        _, tokens = self._kept.look()
        return (yield from self._execute(question, tokens))

    def _execute(self, question: Question, tokens: Tokens | None, begun: int | None = None) -> Flow[dict[str, Any]]:
        """With the rights of ``tokens``, None: of the client. ``begun``: in their very session, not in a later one of
        the same user."""
        token = yield from self._token(tokens)
        try:
            data = yield from ask(question.with_headers(self.endpoint.headers(token)), self.retries)
        except Unauthenticated as error:
            # Only a 401 says that the token was looked at and refused, and that nothing was executed.
            if tokens is None or token is None or error.status != 401 or error.was_executed:
                raise
            fresh: str = yield Refresh(token, tokens.refresh_token)
            if begun is not None and (begun != self._kept.begun or is_of_another_session(token, fresh)):
                raise
            token = fresh
            data = yield from ask(question.with_headers(self.endpoint.headers(token)), self.retries)
        self._has_worked(token)
        return data

    def due(self) -> Refresh:
        """The refresh of the tokens as they are now."""
        _, tokens = self._kept.look()
        return Refresh(tokens.auth_token, tokens.refresh_token) if tokens else Refresh(None, None)

    def refresh(self, due: Refresh) -> Flow[Tokens]:
        """Tokens with another access token than the stale one, saved. To be run by one at a time for each ``due.key``.

        Asks the server only where nobody else has: another task, or another process with the same store. Raises
        ``Unauthenticated`` where the store holds tokens of somebody else by now.
        """
        _, old = self._kept.look()
        if old is None or old.refresh_token is None:
            raise self._kept.ended()
        is_same = due.refresh_token is not None and due.refresh_token in (old.refresh_token, old.previous_refresh_token)
        if not is_same and not is_of_same_user(due.stale, old.auth_token):
            raise _taken()
        if old.auth_token is not None and old.auth_token != due.stale:
            return old
        try:
            new = yield from self._exchange(old, old.refresh_token)
        except (RefreshTokenExpired, RefreshTokenInvalid, RefreshTokenReused) as error:
            self._kept.forget(old, type(error))
            raise
        return self._replace(old, new)

    def access_token(self, expires_in: int | None) -> Flow[str]:
        """One of its own, that is not kept. Raises ``RequestError`` for a pair session, whose refresh gives tokens.

        The server would say that the refresh token is invalid, and the session seem to be over.
        """
        _, tokens = self._kept.look()
        if tokens is None or tokens.refresh_token is None:
            raise self._kept.ended()
        if tokens.kind != "standing":
            raise RequestError('this is a pair session, and only a standing one gives tokens away: session="standing"')
        try:
            return (yield from self._get_access_token(tokens.refresh_token, expires_in))
        except RefreshTokenInvalid as error:
            self._kept.forget(tokens, type(error))
            raise

    def begin(self, tokens: Tokens | None) -> None:
        """These tokens from now on; None: none, and that is meant so."""
        self._compare_clocks(tokens)
        self._kept.begin(tokens)

    def _token(self, tokens: Tokens | None) -> Flow[str | None]:
        """An access token with time left; None: the client acts without a user."""
        if tokens is None:
            return None
        token = tokens.auth_token
        if tokens.is_fresh(self._server_time(), self._buffer) or (tokens.refresh_token is None and token is not None):
            return token
        try:
            fresh: str = yield Refresh(token, tokens.refresh_token)
        except (NetworkError, ServerError, RateLimited):
            # The refresh came early. The old token is used to its end; the server knows when that is.
            if token is not None and tokens.is_fresh(self._server_time(), 0):
                return token
            raise
        return fresh

    def _exchange(self, old: Tokens, refresh_token: str) -> Flow[Tokens]:
        if old.kind == "standing":
            token = yield from self._get_access_token(refresh_token, None)
            return replace(old, auth_token=token)
        headers = self.endpoint.headers(is_exchange=True)
        try:
            new = yield from calls.refresh_pair(refresh_token, headers=headers, retries=self.retries)
        except RefreshTokenInvalid:
            if old.previous_refresh_token is None:
                raise
            # The server has never seen the new one: it may have lost it, with a database set back, and know the old.
            new = yield from calls.refresh_pair(old.previous_refresh_token, headers=headers, retries=self.retries)
        return replace(new, previous_refresh_token=refresh_token)

    def _get_access_token(self, refresh_token: str, expires_in: int | None) -> Flow[str]:
        headers = self.endpoint.headers(is_exchange=True)
        return calls.get_access_token(refresh_token, expires_in, headers=headers, retries=self.retries)

    def _replace(self, old: Tokens, new: Tokens) -> Tokens:
        """A refresh that ends after a logout or a login changes nothing."""
        while current := self._kept.load():
            if current.refresh_token in (old.refresh_token, new.refresh_token):
                if self._kept.swap_in_any_case(current, new):
                    self._compare_clocks(new)
                    return new
            # Another process with the same store was quicker, and perhaps is further.
            elif is_of_same_user(new.auth_token, current.auth_token):
                return current
            else:
                raise _taken()
        raise Unauthenticated("the session was ended meanwhile")

    def _has_worked(self, token: str | None) -> None:
        # The server has answered: what the store makes of it must not take that from the caller.
        with suppress(Exception):
            tokens = self._kept.load()
            if tokens is not None and tokens.previous_refresh_token is not None and tokens.auth_token == token:
                self._kept.swap(tokens, replace(tokens, previous_refresh_token=None))

    def _compare_clocks(self, tokens: Tokens | None) -> None:
        """A token that has just been issued says what time it is at the server.

        With a clock that is hours ahead every token would seem to be over, and every request would refresh.
        """
        issued = tokens.issued_at if tokens else None
        if issued is not None:
            self._server_is_ahead = issued - self._now()

    def _server_time(self) -> float:
        return self._now() + self._server_is_ahead


def _taken() -> Unauthenticated:
    return Unauthenticated("somebody else has logged in meanwhile")
