"""What one client knows of its session, and the flows that use it. Without I/O; safe between threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from keystead_client import calls, documents
from keystead_client.endpoint import Endpoint
from keystead_client.errors import (
    KeysteadError,
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
from keystead_client.tokens import Kind, Tokens, TokenStore, claims_of


class Session:
    """One session at most, in a token store."""

    def __init__(
        self, endpoint: Endpoint, store: TokenStore, retries: int, refresh_buffer: float, now: Callable[[], float]
    ) -> None:
        self.endpoint = endpoint
        self.retries = retries
        self._store = store
        self._buffer = refresh_buffer
        self._now = now
        self._lock = threading.Lock()
        self._end: type[NotAuthenticated] | None = None
        self._begun = 0
        self._had_tokens = False
        self._server_is_ahead = 0.0

    @property
    def tokens(self) -> Tokens | None:
        """The tokens as they are now."""
        return self._store.load()

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
        begun = self._begun
        try:
            if self._store.load() is not None:
                yield from self.execute(Question(documents.LOG_OUT))
        except NotAuthenticated:
            pass
        finally:
            self._leave(begun)

    def log_out_everywhere(self, force: bool) -> Flow[None]:
        """The tokens are kept where the server refuses."""
        begun = self._begun
        yield from self.execute(Question(documents.LOG_OUT_EVERYWHERE, {"force": force}))
        self._leave(begun)

    def execute(self, question: Question) -> Flow[dict[str, Any]]:
        """The ``data``, after at most one refresh before it and one after a 401, which repeats it once."""
        token = yield from self._token()
        try:
            data = yield from ask(question.with_headers(self.endpoint.headers(token)), self.retries)
        except Unauthenticated as error:
            # Only a 401 says that the token was looked at and refused, and that nothing was executed.
            if token is None or error.status != 401 or error.was_executed:
                raise
            token = yield Refresh(token)
            data = yield from ask(question.with_headers(self.endpoint.headers(token)), self.retries)
        self._has_worked(token)
        return data

    def refresh(self, stale: str | None) -> Flow[Tokens]:
        """Tokens with another access token than ``stale``, saved. To be run by one at a time for each ``stale``.

        Asks the server only where nobody else has: another task, or another process with the same store.
        """
        old = self._store.load()
        if old is None or old.refresh_token is None:
            raise self._ended()
        if old.auth_token is not None and old.auth_token != stale:
            if stale is not None and not _is_of_same_user(stale, old.auth_token):
                raise Unauthenticated("somebody else has logged in meanwhile")
            return old
        try:
            new = yield from self._exchange(old, old.refresh_token)
        except (RefreshTokenExpired, RefreshTokenInvalid, RefreshTokenReused) as error:
            self._forget(old, type(error))
            raise
        return self._replace(old, new)

    def access_token(self, expires_in: int | None) -> Flow[str]:
        """One of its own, that is not kept. Raises ``RequestError`` for a pair session, whose refresh gives tokens.

        The server would say that the refresh token is invalid, and the session seem to be over.
        """
        tokens = self._store.load()
        if tokens is None or tokens.refresh_token is None:
            raise self._ended()
        if tokens.kind != "standing":
            raise RequestError('this is a pair session, and only a standing one gives tokens away: session="standing"')
        try:
            return (yield from self._get_access_token(tokens.refresh_token, expires_in))
        except RefreshTokenInvalid as error:
            self._forget(tokens, type(error))
            raise

    def begin(self, tokens: Tokens | None) -> None:
        """These tokens from now on; None: none, and that is meant so."""
        with self._lock:
            self._set_out(tokens)

    def _leave(self, begun: int) -> None:
        """No tokens any more, unless somebody has logged in since: that session is another."""
        with self._lock:
            if self._begun == begun:
                self._set_out(None)

    def _set_out(self, tokens: Tokens | None) -> None:
        self._begun += 1
        self._end, self._had_tokens = None, tokens is not None
        self._compare_clocks(tokens)
        self._store.save(tokens)

    def _token(self) -> Flow[str | None]:
        """An access token with time left; None: the client acts without a user."""
        begun = self._begun
        tokens = self._store.load()
        if tokens is None:
            # The client's own key may be able to do more than the user: it does not step in where a session was lost,
            # or was ended by another process with the same store.
            if self._end is not None or self._had_tokens:
                raise self._ended()
            return None
        with self._lock:
            # A logout that has come between is meant so: what is asked after it is asked without a user.
            self._had_tokens = self._had_tokens or self._begun == begun
        token = tokens.auth_token
        if tokens.is_fresh(self._server_time(), self._buffer) or (tokens.refresh_token is None and token is not None):
            return token
        try:
            fresh: str = yield Refresh(token)
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
        with self._lock:
            current = self._store.load()
            if current is None:
                raise Unauthenticated("the session was ended meanwhile")
            if current.refresh_token in (old.refresh_token, new.refresh_token):
                self._compare_clocks(new)
                self._store.save(new)
                return new
        # Another process with the same store was quicker, and perhaps is further.
        if current.auth_token is not None and _is_of_same_user(new.auth_token or "", current.auth_token):
            return current
        raise Unauthenticated("somebody else has logged in meanwhile")

    def _forget(self, old: Tokens, end: type[NotAuthenticated]) -> None:
        with self._lock:
            current = self._store.load()
            if current is not None and current.refresh_token == old.refresh_token:
                self._end = end
                self._store.save(None)

    def _has_worked(self, token: str | None) -> None:
        tokens = self._store.load()
        if tokens is None or tokens.previous_refresh_token is None or tokens.auth_token != token:
            return
        with self._lock:
            if self._store.load() == tokens:
                self._store.save(replace(tokens, previous_refresh_token=None))

    def _compare_clocks(self, tokens: Tokens | None) -> None:
        """A token that has just been issued says what time it is at the server.

        With a clock that is hours ahead every token would seem to be over, and every request would refresh.
        """
        issued = tokens.issued_at if tokens else None
        if issued is not None:
            self._server_is_ahead = issued - self._now()

    def _server_time(self) -> float:
        return self._now() + self._server_is_ahead

    def _ended(self) -> KeysteadError:
        return (self._end or Unauthenticated)("there is no session: log in")


def _is_of_same_user(one: str, other: str) -> bool:
    """Whether two access tokens name the same user; unverified, but the server has given both to this client."""
    names: list[Mapping[str, Any]] = [claims_of(one), claims_of(other)]
    return names[0].get("sub") == names[1].get("sub")
