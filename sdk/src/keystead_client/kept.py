"""Which session a client is in: the tokens in its store, to which other processes may write, too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace

from keystead_client.errors import NotAuthenticated, Unauthenticated
from keystead_client.fork_lock import ForkLock
from keystead_client.tokens import Tokens, TokenStore, claims_of

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
