"""Coalesce concurrent calls for the same key, and remember results for a while."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from keystead_client.errors import KeysteadError, NetworkError, Timeout, copy_of
from keystead_client.forks import begin_here_and_after_fork


class RecentTokens:
    """The digests of at most ``most`` tokens, least recently used out first, and when each was added.

    Safe to share between threads; a forked process begins with nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        begin_here_and_after_fork(self)

    def __contains__(self, token: str) -> bool:
        return self.added_at(token) is not None

    def added_at(self, token: str) -> float | None:
        """When the token was added last, None if it is not known."""
        key = digest(token)
        with self._lock:
            if key not in self._times:
                return None
            self._times.move_to_end(key)
            return self._times[key]

    def add(self, token: str, now: float = 0.0) -> None:
        """Remembers the token; ``now`` is what :meth:`added_at` will say."""
        key = digest(token)
        with self._lock:
            self._times[key] = now
            self._times.move_to_end(key)
            if len(self._times) > self._most:
                self._times.popitem(last=False)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._times: OrderedDict[bytes, float] = OrderedDict()


def digest(token: str) -> bytes:
    """What is kept in the place of a token."""
    return hashlib.sha256(token.encode()).digest()


T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


class _Abandoned(Exception):
    """Who led was interrupted, or its event loop ended; somebody else has to lead."""


class _Flight(Generic[T]):
    """One piece of work: under way, or landed and remembered."""

    __slots__ = ("began_at", "future", "landed_at", "loop", "outcome")

    def __init__(self, loop: Loop | None, began_at: float) -> None:
        self.loop = loop
        self.began_at = began_at
        self.landed_at: float | None = None
        self.outcome: T | None = None
        self.future: Future[T] = Future()
        # A future that runs cannot be cancelled: one who stops waiting takes nothing from the others.
        self.future.set_running_or_notify_cancel()

    def is_flying(self, here: Loop | None) -> bool:
        """Whether it will land. What an event loop left behind when it ended does not."""
        return self.loop is None or self.loop is here or self.loop.is_running()


class SingleFlight(Generic[T]):
    """The first who asks for a key leads and does the work; others who ask before it is done share what comes of it.

    An outcome is remembered for ``seconds`` after it has landed, at most ``capacity`` of them. An error of the work is
    raised for everybody who waits, and not remembered. With ``freshness``, who comes so many seconds after the work
    began is given none of it, be it remembered or still under way: others do it anew. Keys may be tokens: their digests
    alone are kept. Safe between threads and event loops; a forked process begins with nothing.
    """

    def __init__(
        self,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        capacity: int = 4096,
        *,
        freshness: float | None = None,
    ) -> None:
        self._seconds = seconds
        self._freshness = freshness
        self._clock = clock
        self._capacity = capacity
        begin_here_and_after_fork(self)

    def run(self, key: str | None, work: Callable[[], T], patience: float | None = None) -> T:
        """What came of the work, for threads. Raises ``Timeout`` after waiting ``patience`` seconds for another's."""
        place = _place_of(key)
        while True:
            flight, is_leader = self._board(place, None)
            if flight.landed_at is not None:
                return cast(T, flight.outcome)
            if is_leader:
                return self._lead(place, flight, work)
            if flight.loop is not None and flight.loop is _here():
                # To wait would keep the leader from landing for ever.
                return work()
            try:
                return flight.future.result(patience)
            except _Abandoned:
                continue
            except KeysteadError as error:
                raise copy_of(error) from None
            except FutureTimeout:
                if flight.future.done():
                    raise
                raise self._give_up(place, flight) from None

    async def run_async(self, key: str | None, work: Callable[[], Awaitable[T]], patience: float | None = None) -> T:
        """The same for tasks, of any event loop.

        The work is a task of its own: it ends, and lands for the others, although its caller is cancelled.
        """
        place = _place_of(key)
        while True:
            flight, is_leader = self._board(place, asyncio.get_running_loop())
            if flight.landed_at is not None:
                return cast(T, flight.outcome)
            if is_leader:
                self._take_off(place, flight, work)
            try:
                async with asyncio.timeout(None if is_leader else patience):
                    return await asyncio.wrap_future(flight.future)
            except _Abandoned:
                if is_leader:
                    raise NetworkError("the request was broken off", was_sent=True) from None
            except KeysteadError as error:
                raise copy_of(error) from None
            except TimeoutError:
                if is_leader or flight.future.done():
                    raise
                raise self._give_up(place, flight) from None

    def forget(self, key: str | None) -> None:
        """Remember nothing about ``key``. A flight in the air lands for those who wait for it, and for nobody else."""
        with self._lock:
            self._flights.pop(_place_of(key), None)

    def is_flying(self, key: str | None) -> bool:
        """Whether somebody is at work for ``key`` at this moment."""
        flight = self._flights.get(_place_of(key))
        return flight is not None and flight.landed_at is None and flight.is_flying(_here())

    async def finish(self) -> None:
        """Waits until the work that this event loop has under way is done, whatever comes of it."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(task for task in list(self._tasks) if task.get_loop() is loop), return_exceptions=True)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[bytes, _Flight[T]] = {}
        # An event loop itself keeps no task alive.
        self._tasks: set[asyncio.Task[T]] = set()

    def _board(self, place: bytes, loop: Loop | None) -> tuple[_Flight[T], bool]:
        """The flight to share, and whether the caller has to lead it."""
        flight = self._flights.get(place)
        # Without the lock, for the sake of speed: a flight that has landed changes no more.
        if flight is not None and flight.landed_at is not None and self._is_young(flight, flight.landed_at):
            return flight, False
        with self._lock:
            flight = self._flights.get(place)
            if flight is not None and self._is_good(flight, loop):
                return flight, False
            if flight is not None:
                self._drop(place, loop)
            self._drop_the_oldest(loop)
            flight = self._flights[place] = _Flight(loop, self._clock())
            return flight, True

    def _lead(self, place: bytes, flight: _Flight[T], work: Callable[[], T]) -> T:
        try:
            outcome = work()
        except BaseException as error:
            self._crash(place, flight, error)
            raise
        self._land(place, flight, outcome)
        return outcome

    def _take_off(self, place: bytes, flight: _Flight[T], work: Callable[[], Awaitable[T]]) -> None:
        task = asyncio.create_task(_await(work))
        self._tasks.add(task)
        # Not a part of the task: one that is cancelled before its first step runs none of its own code.
        task.add_done_callback(lambda task: self._has_ended(place, flight, task))

    def _has_ended(self, place: bytes, flight: _Flight[T], task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._crash(place, flight, _Abandoned())
        elif error := task.exception():
            self._crash(place, flight, error)
        else:
            self._land(place, flight, task.result())

    def _land(self, place: bytes, flight: _Flight[T], outcome: T) -> None:
        # Noted before it is answered: who comes now must be given this, or nothing that is over.
        with self._lock:
            if self._flights.get(place) is flight:
                del self._flights[place]
                if self._seconds > 0:
                    flight.outcome = outcome
                    flight.landed_at = self._clock()
                    self._flights[place] = flight
        with suppress(InvalidStateError):
            flight.future.set_result(outcome)

    def _crash(self, place: bytes, flight: _Flight[T], error: BaseException) -> None:
        with self._lock:
            if self._flights.get(place) is flight:
                del self._flights[place]
        _settle(flight, error if isinstance(error, Exception) else _Abandoned())

    def _give_up(self, place: bytes, flight: _Flight[T]) -> Timeout:
        """Who comes next leads another flight; this one lands for those who wait for it still, if it ever does."""
        with self._lock:
            if self._flights.get(place) is flight:
                del self._flights[place]
        return Timeout("somebody else's request for the same took too long", was_sent=False)

    def _drop_the_oldest(self, loop: Loop | None) -> None:
        while self._flights:
            oldest = next(iter(self._flights))
            if self._is_good(self._flights[oldest], loop) and len(self._flights) < self._capacity:
                return
            self._drop(oldest, loop)

    def _drop(self, place: bytes, loop: Loop | None) -> None:
        flight = self._flights.pop(place)
        if flight.landed_at is None and not flight.is_flying(loop):
            _settle(flight, _Abandoned())

    def _is_good(self, flight: _Flight[T], loop: Loop | None) -> bool:
        if flight.landed_at is not None:
            return self._is_young(flight, flight.landed_at)
        return flight.is_flying(loop) and self._is_fresh(flight)

    def _is_young(self, flight: _Flight[T], landed_at: float) -> bool:
        # A clock that was turned back must not make an old answer young for ever.
        return 0 <= self._clock() - landed_at < self._seconds and self._is_fresh(flight)

    def _is_fresh(self, flight: _Flight[T]) -> bool:
        return self._freshness is None or 0 <= self._clock() - flight.began_at < self._freshness


async def _await(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _settle(flight: _Flight[Any], error: Exception) -> None:
    # It may have landed in this very moment, in another thread.
    with suppress(InvalidStateError):
        flight.future.set_exception(error)


def _here() -> Loop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _place_of(key: str | None) -> bytes:
    return b"" if key is None else digest(key)


Work = Callable[[], Coroutine[Any, Any, T]]

PATIENCE: Final = 90.0
"""Seconds after which somebody else's request is given up: longer than any can take with all its repetitions."""


class Share(Protocol):
    """Answers with what came of the work, which one does for all who ask for the same key."""

    async def __call__(self, flights: SingleFlight[T], key: str, work: Work[T]) -> T:
        """What came of it. Raises what the work raised, or ``Timeout``."""


async def share_between_tasks(flights: SingleFlight[T], key: str, work: Work[T]) -> T:
    """For ASGI: one who waits keeps no other task waiting."""
    return await flights.run_async(key, work, PATIENCE)


async def share_between_threads(flights: SingleFlight[T], key: str, work: Work[T]) -> T:
    """For WSGI: never suspends, so that :func:`complete` can drive it; one who waits keeps the thread waiting."""
    return flights.run(key, lambda: run_sync(work()), PATIENCE)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never has to wait for an event loop, in this thread and without one.

    Raises ``RuntimeError`` for one that does.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("this is asynchronous: use keystead_client.auth")
