"""The issuer's public keys: fetched from ``<issuer>/.well-known/jwks.json``, and kept for a while.

How old a key may be, from the newest to the oldest:

- fetched again when older than ``ttl`` (60 s), by one caller while the others go on with what is known;
- fetched again for a ``kid`` that is not known, at most every 10 s, so that strangers cannot drive it;
- while the issuer cannot be reached, kept up to ``max_stale`` (1 h) after it last answered; asked every 10 s.

One fetch at a time, across tasks, event loops and threads.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, Final

from keystead_client.errors import KeysteadError, NetworkError, ServerError
from keystead_client.flow import Reply
from keystead_client.jwks_document import keys_in
from keystead_client.questions import Ask, Questions

AT_MOST_EVERY: Final = 10.0
"""Seconds between two fetches for unknown names, and after one that failed."""
AT_FIRST_EVERY: Final = 1.0
"""Seconds between two attempts while there are no keys at all: nothing can be verified then."""
_BROKEN_OFF: Final = "the fetch of the issuer's keys was broken off"


@dataclass(slots=True)
class _Flight:
    """One fetch under way. Its future never fails: what came of it stands in :class:`PublishedKeys`."""

    started: float = field(default_factory=time.monotonic)
    landed: futures.Future[None] = field(default_factory=futures.Future)

    def __post_init__(self) -> None:
        # A future that runs cannot be cancelled: a task that gives up waiting takes nobody with it.
        self.landed.set_running_or_notify_cancel()


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
        self._ttl, self._max_stale, self._timeout = ttl, max_stale, timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._fetched_at: float | None = None
        self._attempted_at: float | None = None
        self._failure: KeysteadError | None = None
        self._flight: _Flight | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, kid: str) -> Any | None:
        """The key of that name, or None when the issuer does not publish it.

        :raises NetworkError: when it is not known, and the issuer cannot be asked.
        :raises ServerError: the same, when it answered something else.
        """
        flight, leads = self._board(kid)
        if flight and leads:
            self._lead(flight)
        elif flight:
            futures.wait([flight.landed], timeout=2 * self._timeout)
        return self._known(kid)

    async def find_async(self, kid: str) -> Any | None:
        """As :meth:`find`."""
        flight, leads = self._board(kid)
        if flight and leads:
            # A task of its own: the fetch serves others too, and goes on when this caller is cancelled.
            task = asyncio.create_task(self._lead_async(flight))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.shield(task)
        elif flight:
            await asyncio.wait([asyncio.wrap_future(flight.landed)], timeout=2 * self._timeout)
        return self._known(kid)

    def _board(self, kid: str) -> tuple[_Flight | None, bool]:
        """The fetch to wait for, if any, and whether the caller is the one to do it."""
        with self._lock:
            now = self._clock()
            is_known = self._is_usable(now) and kid in self._keys
            if is_known and self._is_fresh(now):
                return None, False
            # Whoever led a flight may be gone without a word: a thread that died, an event loop that was closed.
            if self._flight and time.monotonic() - self._flight.started < 2 * self._timeout:
                return (None if is_known else self._flight), False
            if not self._may_fetch(now):
                return None, False
            self._attempted_at = now
            self._flight = _Flight()
            return self._flight, True

    def _is_usable(self, now: float) -> bool:
        return self._fetched_at is not None and abs(now - self._fetched_at) <= self._max_stale

    def _is_fresh(self, now: float) -> bool:
        # A clock that was put back makes no key young.
        return self._fetched_at is not None and 0 <= now - self._fetched_at < self._ttl

    def _may_fetch(self, now: float) -> bool:
        if self._attempted_at is None:
            return True
        pause = AT_MOST_EVERY if self._is_usable(now) else AT_FIRST_EVERY
        has_paused = not 0 <= now - self._attempted_at < pause
        return has_paused or (self._failure is None and not self._is_fresh(now))

    def _lead(self, flight: _Flight) -> None:
        outcome: Mapping[str, Any] | KeysteadError = NetworkError(_BROKEN_OFF, was_sent=True)
        try:
            outcome = _keys(self._questions.ask(self._question))
        except KeysteadError as error:
            outcome = error
        finally:
            self._land(flight, outcome)

    async def _lead_async(self, flight: _Flight) -> None:
        outcome: Mapping[str, Any] | KeysteadError = NetworkError(_BROKEN_OFF, was_sent=True)
        try:
            outcome = _keys(await self._questions.ask_async(self._question))
        except KeysteadError as error:
            outcome = error
        finally:
            self._land(flight, outcome)

    def _land(self, flight: _Flight, outcome: Mapping[str, Any] | KeysteadError) -> None:
        with self._lock:
            # A flight that was given up changes nothing: a later one may have landed with newer keys.
            if self._flight is flight:
                self._flight = None
                self._note(outcome)
        flight.landed.set_result(None)

    def _note(self, outcome: Mapping[str, Any] | KeysteadError) -> None:
        if isinstance(outcome, KeysteadError):
            self._failure = outcome
            return
        # As old as the question, not as the answer.
        self._keys, self._fetched_at, self._failure = outcome, self._attempted_at, None

    def _known(self, kid: str) -> Any | None:
        with self._lock:
            is_usable = self._is_usable(self._clock())
            key = self._keys.get(kid) if is_usable else None
            failure = self._failure
        if key is None and failure:
            raise _anew(failure)
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
