"""The state of a client's session, and the flows that use it. No I/O; thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from keystead_client import _operations
from keystead_client._endpoint import Endpoint
from keystead_client._protocol import Flow, Operation, Refresh, execute
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
from keystead_client.tokens import Kind, Tokens, TokenStore, claims_of

_EXPIRED = Tokens(None, None)
"""Saved for a session that was lost, so that the client's own key does not act in its place, in the next run either."""


class TokenState:
    """The tokens of at most one session, in a store to which other processes may write, too. Thread-safe."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._exclusive: Callable[[], AbstractContextManager[object]] = getattr(store, "exclusive", nullcontext)
        self._lost_by: type[NotAuthenticated] = Unauthenticated
        self._had_tokens = False
        # What the store holds, and the tokens that could not be saved in its place.
        self._unsaved: tuple[Tokens | None, Tokens] | None = None

    def load(self) -> Tokens | None:
        """The current tokens; None without a session."""
        tokens = self._load()
        return None if tokens == _EXPIRED else tokens

    def current(self) -> Tokens | None:
        """The current tokens; None if there never was a session, or it was logged out here.

        :raises NotAuthenticated: the session was lost, or ended by another process with the same store.
        """
        with self._lock:
            tokens = self._load()
            if tokens == _EXPIRED or (tokens is None and self._had_tokens):
                raise self.lost()
            self._had_tokens = tokens is not None
            return tokens

    def start(self, tokens: Tokens | None) -> None:
        """Replace the session by another; None: by no session."""
        with self._exclusive(), self._lock:
            self._store.save(tokens)
            self._unsaved = None
            self._lost_by, self._had_tokens = Unauthenticated, tokens is not None

    def clear(self, tokens: Tokens | None) -> None:
        """End the session of ``tokens``, unless another session has been started since."""
        with self._exclusive(), self._lock:
            current = self.load()
            if current is None or (tokens is not None and is_same_session(tokens, current)):
                self.start(None)

    def compare_and_swap(self, expected: Tokens, new: Tokens, *, must_save: bool = True) -> bool:
        """Replace ``expected`` by ``new``; False if it was not current. ``must_save=False``: keep ``new`` in memory if
        the store fails, since the server has replaced the old tokens already."""
        with self._exclusive(), self._lock:
            if self._load() != expected:
                return False
            if must_save:
                self._store.save(new)
                self._unsaved = None
            else:
                self._save_or_keep(new)
            return True

    def lose(self, tokens: Tokens, error: type[NotAuthenticated]) -> None:
        """The server has ended the session of ``tokens``."""
        with self._exclusive(), self._lock:
            current = self._load()
            if current is not None and current.refresh_token == tokens.refresh_token:
                self._lost_by, self._had_tokens = error, True
                self._save_or_keep(_EXPIRED)

    def lost(self) -> NotAuthenticated:
        """What to raise where there is no session."""
        return self._lost_by("there is no session: log in")

    def _save_or_keep(self, new: Tokens) -> None:
        saved = self._read()
        try:
            self._store.save(new)
            self._unsaved = None
        except Exception:
            self._unsaved = saved, new

    def _load(self) -> Tokens | None:
        tokens, unsaved = self._read(), self._unsaved
        return unsaved[1] if unsaved and unsaved[0] == tokens else tokens

    def _read(self) -> Tokens | None:
        tokens = self._store.load()
        if tokens is None:
            return None
        # An empty text would be sent as no token at all, and the request go out with the client's own key.
        texts = (tokens.auth_token or None, tokens.refresh_token or None)
        return Tokens(*texts, tokens.kind, tokens.previous_refresh_token or None)


def is_same_session(one: Tokens, other: Tokens) -> bool:
    """Whether two sets of tokens belong to one session: by refresh token, else by the access tokens' ``sid``."""
    if one.refresh_token is not None and one.refresh_token in (other.refresh_token, other.previous_refresh_token):
        return True
    sids = [claims_of(tokens.auth_token).get("sid") for tokens in (one, other)]
    return sids[0] is not None and sids[0] == sids[1]


class Session:
    """At most one session, in a token store."""

    def __init__(
        self, endpoint: Endpoint, store: TokenStore, retries: int, refresh_buffer: float, now: Callable[[], float]
    ) -> None:
        self.endpoint = endpoint
        self.retries = retries
        self._state = TokenState(store)
        self._buffer = refresh_buffer
        self._now = now
        self._clock_skew = 0.0  # seconds by which the server's clock is ahead

    @property
    def tokens(self) -> Tokens | None:
        """The current tokens."""
        return self._state.load()

    def start(self, tokens: Tokens | None) -> None:
        """Replace the session by another; None: by no session."""
        self._compare_clocks(tokens)
        self._state.start(tokens)

    def log_in(self, email: str, password: str, brand: str | None, kind: Kind) -> Flow[Tokens]:
        """A new session; the old one stays valid on the server."""
        headers = self.endpoint.headers()
        new = yield from _operations.log_in(
            email, password, brand=brand, kind=kind, headers=headers, retries=self.retries
        )
        self.start(new)
        return new

    def create_me(self) -> Flow[Tokens]:
        """A new anonymous user."""
        new = yield from _operations.create_me(headers=self.endpoint.headers(), retries=self.retries)
        self.start(new)
        return new

    def log_out(self) -> Flow[None]:
        """Forget the tokens whatever the server answers; a session that is over already is logged out."""
        tokens = None
        try:
            tokens = self._state.current()
            if tokens is not None:
                yield from self._execute(Operation(_operations.LOG_OUT), tokens)
        except NotAuthenticated:
            pass
        finally:
            self._state.clear(tokens)

    def log_out_everywhere(self, force: bool) -> Flow[None]:
        """Keep the tokens if the server refuses."""
        tokens = self._state.current()
        yield from self._execute(Operation(_operations.LOG_OUT_EVERYWHERE, {"force": force}), tokens)
        self._state.clear(tokens)

    def execute(self, operation: Operation) -> Flow[dict[str, Any]]:
        """The ``data``, after at most one refresh before the request and one after a 401, which is retried once."""
        return (yield from self._execute(operation, self._state.current()))

    def due(self) -> Refresh:
        """The refresh of the current tokens."""
        return Refresh(self._state.current() or _EXPIRED)

    def refresh(self, due: Refresh) -> Flow[Tokens]:
        """New tokens, saved, unless another task or process has refreshed already. One call at a time per ``due.key``.

        :raises Unauthenticated: the store holds another session by now.
        """
        old = self._state.current()
        if old is None or old.refresh_token is None:
            raise self._state.lost()
        if not is_same_session(due.tokens, old):
            raise Unauthenticated("another session was started meanwhile")
        if old.auth_token is not None and old.auth_token != due.tokens.auth_token:
            return old
        try:
            new = yield from self._exchange(old, old.refresh_token)
        except (RefreshTokenExpired, RefreshTokenInvalid, RefreshTokenReused) as error:
            self._state.lose(old, type(error))
            raise
        return self._replace(old, new)

    def access_token(self, expires_in: int | None) -> Flow[str]:
        """A new access token of a standing session, not kept. Raises ``RequestError`` for a pair session."""
        tokens = self._state.current()
        if tokens is None or tokens.refresh_token is None:
            raise self._state.lost()
        if tokens.kind != "standing":
            raise RequestError('only a standing session issues access tokens: log in with session="standing"')
        headers = self.endpoint.headers(is_exchange=True)
        flow = _operations.get_access_token(tokens.refresh_token, expires_in, headers=headers, retries=self.retries)
        try:
            return (yield from flow)
        except RefreshTokenInvalid as error:
            self._state.lose(tokens, type(error))
            raise

    def _execute(self, operation: Operation, tokens: Tokens | None) -> Flow[dict[str, Any]]:
        """With the rights of ``tokens``; None: of the client."""
        token = yield from self._token(tokens)
        try:
            data = yield from execute(operation.with_headers(self.endpoint.headers(token)), self.retries)
        except Unauthenticated as error:
            # Only a 401 says that the token was checked and rejected, and that nothing was executed.
            if tokens is None or token is None or error.status != 401 or error.was_executed:
                raise
            token = yield Refresh(replace(tokens, auth_token=token))
            data = yield from execute(operation.with_headers(self.endpoint.headers(token)), self.retries)
        self._confirm(token)
        return data

    def _token(self, tokens: Tokens | None) -> Flow[str | None]:
        """An access token that is still valid; None: the client acts without a user."""
        if tokens is None:
            return None
        token = tokens.auth_token
        if self._is_fresh(tokens, self._buffer) or (tokens.refresh_token is None and token is not None):
            return token
        try:
            fresh: str = yield Refresh(tokens)
        except (NetworkError, ServerError, RateLimited):
            # The refresh was early: the old token is used until it expires.
            if token is not None and self._is_fresh(tokens, 0):
                return token
            raise
        return fresh

    def _exchange(self, old: Tokens, refresh_token: str) -> Flow[Tokens]:
        headers, retries = self.endpoint.headers(is_exchange=True), self.retries
        if old.kind == "standing":
            flow = _operations.get_access_token(refresh_token, None, headers=headers, retries=retries)
            return replace(old, auth_token=(yield from flow))
        try:
            new = yield from _operations.refresh_pair(refresh_token, headers=headers, retries=retries)
        except RefreshTokenInvalid:
            previous = old.previous_refresh_token
            if previous is None:
                raise
            # The new one has never worked: a server whose database was restored may know only the previous one.
            new = yield from _operations.refresh_pair(previous, headers=headers, retries=retries)
        return replace(new, previous_refresh_token=refresh_token)

    def _replace(self, old: Tokens, new: Tokens) -> Tokens:
        """Save refreshed tokens; a refresh that ends after a logout or a login changes nothing."""
        while current := self._state.load():
            if current.refresh_token in (old.refresh_token, new.refresh_token):
                if self._state.compare_and_swap(current, new, must_save=False):
                    self._compare_clocks(new)
                    return new
            elif is_same_session(new, current):
                # Another process with the same store has refreshed first, perhaps more than once.
                return current
            else:
                break
        raise Unauthenticated("another session was started meanwhile" if current else "the session was ended meanwhile")

    def _confirm(self, token: str | None) -> None:
        """New tokens have worked: forget the refresh token that they replaced."""
        # A store that fails must not take the answer from the caller.
        with suppress(Exception):
            tokens = self._state.load()
            if tokens is not None and tokens.previous_refresh_token is not None and tokens.auth_token == token:
                self._state.compare_and_swap(tokens, replace(tokens, previous_refresh_token=None))

    def _compare_clocks(self, tokens: Tokens | None) -> None:
        """Take the server's time from a new token: with a clock that is hours ahead every token would seem expired."""
        issued = tokens.issued_at if tokens else None
        if issued is not None:
            self._clock_skew = issued - self._now()

    def _is_fresh(self, tokens: Tokens, buffer: float) -> bool:
        return tokens.is_fresh(self._now() + self._clock_skew, buffer)
