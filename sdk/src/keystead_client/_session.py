"""The state of a client's session, and the flows that use it. No I/O; thread-safe."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from keystead_client import _operations
from keystead_client._endpoint import Endpoint
from keystead_client._protocol import Flow, Question, Refresh, ask
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
from keystead_client.fork_lock import ForkLock
from keystead_client.tokens import Kind, Tokens, TokenStore, claims_of

_OVER = Tokens(None, None)
"""What is saved of a session that was lost: nobody's key steps in for it, not in the next run either."""


class Kept:
    """The tokens of one session at most. Safe between threads, and in a process that was forked."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._lock = ForkLock()
        # Always entered before the lock: a program may be inside already when it calls.
        self._alone: Callable[[], AbstractContextManager[None]] = getattr(store, "exclusive", nullcontext)
        self._begun = 0
        self._end: type[NotAuthenticated] | None = None
        self._had_tokens = False
        self._unsaved: tuple[Tokens, Tokens] | None = None

    def load(self) -> Tokens | None:
        """The tokens as they are now, None without a session."""
        tokens = self._load()
        return None if tokens == _OVER else tokens

    def look(self) -> tuple[int, Tokens | None]:
        """The number of logins and logouts so far, and the tokens.

        Raises ``NotAuthenticated`` where a session was lost, or was ended by another process with the same store. The
        client's own key may be able to do more than the user: it does not step in there.
        """
        with self._lock:
            tokens = self._load()
            if tokens == _OVER or (tokens is None and (self._end or self._had_tokens)):
                raise self.ended()
            self._had_tokens = tokens is not None
            return self._begun, tokens

    @property
    def begun(self) -> int:
        """The number of logins and logouts so far, in this process."""
        return self._begun

    def begin(self, tokens: Tokens | None) -> None:
        """These from now on; None: none, and that is meant so."""
        with self._alone(), self._lock:
            self._begin(tokens)

    def leave(self, begun: int, tokens: Tokens | None) -> None:
        """No tokens any more, unless somebody has logged in since: that session is another."""
        with self._alone(), self._lock:
            current = self._load()
            if self._begun == begun and not (tokens and current and _are_apart(tokens, current)):
                self._begin(None)

    def swap(self, expected: Tokens, new: Tokens) -> bool:
        """Whether ``expected`` was there; ``new`` stands in its place then."""
        with self._alone(), self._lock:
            if self._load() != expected:
                return False
            self._save(new)
            return True

    def swap_in_any_case(self, expected: Tokens, new: Tokens) -> bool:
        """The same; where the store fails, ``new`` is kept in memory. The server has given it, and knows no other."""
        with self._alone(), self._lock:
            if self._load() != expected:
                return False
            self._save_in_any_case(expected, new)
            return True

    def forget(self, lost: Tokens, end: type[NotAuthenticated]) -> None:
        """The session of ``lost`` is over."""
        with self._alone(), self._lock:
            current = self._load()
            if current is not None and current.refresh_token == lost.refresh_token:
                self._end = end
                self._save_in_any_case(current, _OVER)

    def ended(self) -> NotAuthenticated:
        """What to raise where there is no session."""
        return (self._end or Unauthenticated)("there is no session: log in")

    def _begin(self, tokens: Tokens | None) -> None:
        self._save(tokens)
        self._begun += 1
        self._end, self._had_tokens = None, tokens is not None

    def _save(self, tokens: Tokens | None) -> None:
        self._store.save(tokens)
        self._unsaved = None

    def _save_in_any_case(self, current: Tokens, new: Tokens) -> None:
        before = self._unsaved
        # Until the store holds something else, or can be written to again; and for a handler that interrupts the save,
        # which would else refresh what this very thread has refreshed.
        self._unsaved = (before[0] if before and before[1] == current else current), new
        with suppress(Exception):
            self._save(new)

    def _load(self) -> Tokens | None:
        tokens = self._store.load()
        if tokens is not None and "" in (tokens.auth_token, tokens.refresh_token, tokens.previous_refresh_token):
            # An empty text would be sent as no token at all, and so ask with the client's own key.
            tokens = replace(
                tokens,
                auth_token=tokens.auth_token or None,
                refresh_token=tokens.refresh_token or None,
                previous_refresh_token=tokens.previous_refresh_token or None,
            )
        unsaved = self._unsaved
        return unsaved[1] if unsaved and unsaved[0] == tokens else tokens


def is_of_same_user(one: str | None, other: str | None) -> bool:
    """Whether two access tokens name one user; unverified, but the server has given both to this client."""
    names = [claims_of(token).get("sub") if token else None for token in (one, other)]
    return names[0] is not None and names[0] == names[1]


def is_of_another_session(one: str | None, other: str | None) -> bool:
    """Whether two access tokens name two sessions; unverified, as above."""
    names = [claims_of(token).get("sid") if token else None for token in (one, other)]
    return None not in names and names[0] != names[1]


def _are_apart(one: Tokens, other: Tokens) -> bool:
    """Whether these are of two sessions; a standing one keeps its refresh token, of a pair the access tokens tell."""
    if one.refresh_token is not None and one.refresh_token == other.refresh_token:
        return False
    return "standing" in (one.kind, other.kind) or is_of_another_session(one.auth_token, other.auth_token)


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
        given = yield from _operations.log_in(
            email, password, brand=brand, kind=kind, headers=headers, retries=self.retries
        )
        self.begin(given)
        return given

    def create_me(self) -> Flow[Tokens]:
        """A new anonymous user."""
        given = yield from _operations.create_me(headers=self.endpoint.headers(), retries=self.retries)
        self.begin(given)
        return given

    def log_out(self) -> Flow[None]:
        """The tokens are forgotten whatever the server answers; a session that is over already is logged out."""
        begun, tokens = self._kept.begun, None
        try:
            begun, tokens = self._kept.look()
            if tokens is not None:
                yield from self._execute(Question(_operations.LOG_OUT), tokens, begun)
        except NotAuthenticated:
            pass
        finally:
            self._kept.leave(begun, tokens)

    def log_out_everywhere(self, force: bool) -> Flow[None]:
        """The tokens are kept where the server refuses."""
        begun, tokens = self._kept.look()
        yield from self._execute(Question(_operations.LOG_OUT_EVERYWHERE, {"force": force}), tokens)
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
            new = yield from _operations.refresh_pair(refresh_token, headers=headers, retries=self.retries)
        except RefreshTokenInvalid:
            if old.previous_refresh_token is None:
                raise
            # The server has never seen the new one: it may have lost it, with a database set back, and know the old.
            new = yield from _operations.refresh_pair(old.previous_refresh_token, headers=headers, retries=self.retries)
        return replace(new, previous_refresh_token=refresh_token)

    def _get_access_token(self, refresh_token: str, expires_in: int | None) -> Flow[str]:
        headers = self.endpoint.headers(is_exchange=True)
        return _operations.get_access_token(refresh_token, expires_in, headers=headers, retries=self.retries)

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
