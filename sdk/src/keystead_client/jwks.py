"""The issuer's public keys: fetched from ``<issuer>/.well-known/jwks.json``, and kept for a while.

How old a key may be, from the newest to the oldest:

- fetched again when older than ``ttl`` (60 s), by one caller while the others go on with what is known;
- fetched again for a ``kid`` that is not known, at most every 10 s, so that strangers cannot drive it;
- while the issuer cannot be reached, kept up to ``max_stale`` (1 h) after it last answered; asked every 10 s.

One fetch at a time, across tasks, event loops and threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keystead_client.errors import KeysteadError, NetworkError, ServerError
from keystead_client.flow import Reply
from keystead_client.jwks_document import keys_in
from keystead_client.questions import Ask, Questions
from keystead_client.single_flight import SingleFlight

AT_MOST_EVERY: Final = 10.0
"""Seconds between two fetches for unknown names, and after one that failed."""
AT_FIRST_EVERY: Final = 1.0
"""Seconds between two attempts while there are no keys at all: nothing can be verified then."""
_BROKEN_OFF: Final = "the fetch of the issuer's keys was broken off"


@dataclass(frozen=True, slots=True)
class _State:
    """All that is known at one moment; replaced as a whole, so that threads read it without a lock."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    fetched_at: float | None = None
    attempted_at: float | None = None
    failure: KeysteadError | None = None


class PublishedKeys:
    """The keys of one issuer by name (``kid``). Safe to share between tasks and threads."""

    def __init__(
        self,
        issuer: str,
        questions: Questions,
        *,
        ttl: float,
        max_stale: float,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._question = Ask("GET", f"{issuer}/.well-known/jwks.json", {"accept": "application/json, */*;q=0.5"})
        self._questions = questions
        self._ttl, self._max_stale = ttl, max_stale
        self._patience = 2 * timeout
        self._clock = clock
        self._state = _State()
        self._flights: SingleFlight[None] = SingleFlight()

    def find(self, kid: str) -> Any | None:
        """The key of that name, or None when the issuer does not publish it.

        :raises NetworkError: when it is not known, and the issuer cannot be asked.
        :raises ServerError: the same, when it answered something else.
        """
        if self._must_wait(kid):
            # What came of a fetch stands in the state; that it took too long does not, and is said there, too.
            with suppress(KeysteadError):
                self._flights.run(None, lambda: self._fetch(kid), self._patience)
        return self._known(kid)

    async def find_async(self, kid: str) -> Any | None:
        """As :meth:`find`."""
        if self._must_wait(kid):
            with suppress(KeysteadError):
                await self._flights.run_async(None, lambda: self._fetch_async(kid), self._patience)
        return self._known(kid)

    def _must_wait(self, kid: str) -> bool:
        """Whether a fetch is due, or one is under way and what is known is not enough."""
        if self._flights.is_flying(None):
            return not (self._is_usable(self._clock()) and kid in self._state.keys)
        return self._is_due(kid, self._clock())

    def _is_due(self, kid: str, now: float) -> bool:
        if self._is_usable(now) and self._is_fresh(now) and kid in self._state.keys:
            return False
        attempted_at = self._state.attempted_at
        if attempted_at is None:
            return True
        pause = AT_MOST_EVERY if self._is_usable(now) else AT_FIRST_EVERY
        has_paused = not 0 <= now - attempted_at < pause
        return has_paused or (self._state.failure is None and not self._is_fresh(now))

    def _is_usable(self, now: float) -> bool:
        fetched_at = self._state.fetched_at
        return fetched_at is not None and abs(now - fetched_at) <= self._max_stale

    def _is_fresh(self, now: float) -> bool:
        # A clock that was put back makes no key young.
        fetched_at = self._state.fetched_at
        return fetched_at is not None and 0 <= now - fetched_at < self._ttl

    def _fetch(self, kid: str) -> None:
        begun = self._begin(kid)
        if begun is None:
            return
        outcome: Mapping[str, Any] | KeysteadError = NetworkError(_BROKEN_OFF, was_sent=True)
        try:
            outcome = _keys(self._questions.ask(self._question))
        except KeysteadError as error:
            outcome = error
        finally:
            self._note(begun, outcome)

    async def _fetch_async(self, kid: str) -> None:
        begun = self._begin(kid)
        if begun is None:
            return
        outcome: Mapping[str, Any] | KeysteadError = NetworkError(_BROKEN_OFF, was_sent=True)
        try:
            outcome = _keys(await self._questions.ask_async(self._question))
        except KeysteadError as error:
            outcome = error
        finally:
            self._note(begun, outcome)

    def _begin(self, kid: str) -> _State | None:
        """The state in which a fetch begins; None where another has landed since it was found due."""
        now = self._clock()
        if not self._is_due(kid, now):
            return None
        begun = self._state = replace(self._state, attempted_at=now)
        return begun

    def _note(self, begun: _State, outcome: Mapping[str, Any] | KeysteadError) -> None:
        # A fetch that was given up changes nothing: a later one may have landed with newer keys.
        if self._state is not begun:
            return
        if isinstance(outcome, KeysteadError):
            self._state = replace(begun, failure=outcome)
        else:
            # As old as the question, not as the answer.
            self._state = _State(outcome, begun.attempted_at, begun.attempted_at, None)

    def _known(self, kid: str) -> Any | None:
        is_usable, state = self._is_usable(self._clock()), self._state
        key = state.keys.get(kid) if is_usable else None
        if key is None and state.failure:
            raise _anew(state.failure)
        if key is None and not is_usable:
            raise NetworkError("the issuer's keys are still being fetched", was_sent=True)
        return key


def _keys(reply: Reply) -> Mapping[str, Any]:
    if reply.status != 200:
        raise ServerError(f"the issuer answered {reply.status} instead of its keys")
    return keys_in(reply.body)


def _anew(failure: KeysteadError) -> KeysteadError:
    """Another exception of the same kind: one that is raised again and again grows by a traceback each time."""
    if isinstance(failure, NetworkError):
        return type(failure)(failure.message, was_sent=failure.was_sent)
    return type(failure)(failure.message, failure.extensions)
