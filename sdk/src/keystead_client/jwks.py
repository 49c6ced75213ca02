"""The issuer's public keys: fetched from ``<issuer>/.well-known/jwks.json``, and kept for a while.

How old a key may be, from the newest to the oldest:

- fetched again from 5 s before it is as old as ``ttl`` (60 s) on, by one caller while the others go on with what is
  known; from ``ttl`` on they wait for that fetch;
- fetched again for a ``kid`` that is not known, at most every 10 s, so that strangers cannot drive it. Between these,
  nobody can tell about a name that comes for the first time: it may be that of a key which signs since a moment ago.
  The next fetch tells about all that came meanwhile, whoever causes it;
- while the issuer cannot be reached, kept up to ``max_stale`` (1 h) after it was last asked with success; asked every
  10 s.

One fetch at a time, across tasks, event loops and threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keystead_client.errors import KeysteadError, NetworkError, ServerError, anew
from keystead_client.flow import Reply
from keystead_client.jwks_document import keys_in
from keystead_client.questions import Ask, Questions
from keystead_client.remembered import Remembered
from keystead_client.single_flight import SingleFlight

AT_MOST_EVERY: Final = 10.0
"""Seconds between two fetches for unknown names, and after one that failed."""
AT_FIRST_EVERY: Final = 1.0
"""Seconds between two attempts while there are no keys at all: nothing can be verified then."""
JUST_NOW: Final = 1.0
"""Seconds: keys that were asked for so shortly before a token came are all the keys that can have signed it."""
MOST_ABSENT: Final = 4096
"""Names that are remembered not to be a key's, least recently used out first."""
MOST_DOUBTFUL: Final = 1024
"""Names that came between two fetches and wait for the next, the first ones. Fewer than those that are known to be
absent, so that a flood does not have all of these forgotten at once."""
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
        # What a cache on the way has kept would be older than it seems here.
        headers = {"accept": "application/json, */*;q=0.5", "cache-control": "no-cache"}
        self._question = Ask("GET", f"{issuer}/.well-known/jwks.json", headers)
        self._questions = questions
        self._ttl, self._max_stale = ttl, max_stale
        # So early that the next keys are there before those that are known are too old.
        self._renewed_from = ttl - min(timeout, ttl / 2)
        self._patience = 2 * timeout
        self._clock = clock
        self._state = _State()
        self._absent = Remembered(MOST_ABSENT)
        # When a token of that name came first.
        self._doubtful: dict[str, float] = {}
        self._flights: SingleFlight[None] = SingleFlight()

    def find(self, kid: str) -> Any | None:
        """The key of that name, or None when the issuer does not publish it.

        :raises NetworkError: when it is not known, and the issuer cannot be asked, or not yet again.
        :raises ServerError: the same, when it answered something else.
        """
        arrived_at = self._clock()
        if self._must_wait(kid):
            # What came of a fetch stands in the state; that it took too long does not, and is said there, too.
            with suppress(KeysteadError):
                self._flights.run(None, lambda: self._fetch(kid), self._patience)
        return self._known(kid, arrived_at)

    async def find_async(self, kid: str) -> Any | None:
        """As :meth:`find`."""
        arrived_at = self._clock()
        if self._must_wait(kid):
            with suppress(KeysteadError):
                await self._flights.run_async(None, lambda: self._fetch_async(kid), self._patience)
        return self._known(kid, arrived_at)

    def _must_wait(self, kid: str) -> bool:
        """Whether a fetch is due, or one is under way and what is known is not enough."""
        now = self._clock()
        if not self._flights.is_flying(None):
            return self._is_due(kid, now)
        # An issuer that is away is waited for by one caller at a time.
        is_good_for_now = self._is_younger(self._ttl, now) or self._state.failure is not None
        return not (is_good_for_now and self._is_usable(now) and kid in self._state.keys)

    def _is_due(self, kid: str, now: float) -> bool:
        is_fresh = self._is_younger(self._renewed_from, now)
        if self._is_usable(now) and is_fresh and kid in self._state.keys:
            return False
        attempted_at = self._state.attempted_at
        if attempted_at is None:
            return True
        pause = AT_MOST_EVERY if self._is_usable(now) else AT_FIRST_EVERY
        has_paused = not 0 <= now - attempted_at < pause
        return has_paused or (self._state.failure is None and not is_fresh)

    def _is_usable(self, now: float) -> bool:
        fetched_at = self._state.fetched_at
        return fetched_at is not None and abs(now - fetched_at) <= self._max_stale

    def _is_younger(self, seconds: float, now: float) -> bool:
        # A clock that was put back makes no key young.
        fetched_at = self._state.fetched_at
        return fetched_at is not None and 0 <= now - fetched_at < seconds

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
            for kid in begun.keys.keys() - outcome.keys():
                self._absent.add(kid)
            # As old as the question, not as the answer.
            self._state = _State(outcome, begun.attempted_at, begun.attempted_at, None)
            self._settle(self._state)

    def _settle(self, state: _State) -> None:
        """What came before the issuer was asked, and is not among its keys, is no key's name."""
        doubtful, self._doubtful = self._doubtful, {}
        # Other threads may still be adding to it. What is lost so is doubtful when it comes again.
        for kid, arrived_at in list(doubtful.items()):
            if kid not in state.keys and _is_told(state.fetched_at or 0.0, arrived_at):
                self._absent.add(kid)

    def _known(self, kid: str, arrived_at: float) -> Any | None:
        is_usable, state = self._is_usable(self._clock()), self._state
        key = state.keys.get(kid) if is_usable else None
        if key is None and state.failure:
            raise anew(state.failure)
        if key is None and not is_usable:
            raise NetworkError("the issuer's keys are still being fetched", was_sent=True)
        if key is None:
            self._require_absence(kid, state.fetched_at or 0.0, arrived_at)
        return key

    def _require_absence(self, kid: str, fetched_at: float, arrived_at: float) -> None:
        """:raises NetworkError: where the key may have been published since the issuer was asked."""
        if _is_told(fetched_at, arrived_at):
            self._absent.add(kid)
        elif kid not in self._absent:
            if len(self._doubtful) < MOST_DOUBTFUL:
                self._doubtful.setdefault(kid, arrived_at)
            raise NetworkError("the key of the token is unknown, and the issuer was asked a moment ago", was_sent=False)


def _is_told(fetched_at: float, arrived_at: float) -> bool:
    """Whether the keys of that moment are all that can have signed a token which came then."""
    return fetched_at > arrived_at - JUST_NOW


def _keys(reply: Reply) -> Mapping[str, Any]:
    if reply.status != 200:
        raise ServerError(f"the issuer answered {reply.status} instead of its keys")
    return keys_in(reply.body)
