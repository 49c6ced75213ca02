"""Coalesce concurrent calls for the same key, and remember their results for a while.

Shared by tasks, event loops and threads: the clients' refresh, the middleware's checks and the verifier's key fetch.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from copy import copy
from functools import partial, wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar

from keystead_client.errors import KeysteadError, NetworkError, Timeout

T = TypeVar("T")
P = ParamSpec("P")
Work = Callable[[], Coroutine[Any, Any, T]]

PATIENCE: Final = 90.0
"""Seconds after which a follower gives up on the leader: longer than any request with all its retries."""


class RecentTokens:
    """An LRU set of at most ``most`` tokens, each with the time it was added. Holds digests only. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._times: OrderedDict[bytes, float] = OrderedDict()

    def __contains__(self, token: str) -> bool:
        return self.added_at(token) is not None

    def added_at(self, token: str) -> float | None:
        """When the token was last added; None if it is not in the set."""
        key = _digest(token)
        with self._lock:
            if key in self._times:
                self._times.move_to_end(key)
            return self._times.get(key)

    def add(self, token: str, now: float = 0.0) -> None:
        """Add the token; evict the least recently used one if the set is full."""
        key = _digest(token)
        with self._lock:
            self._times[key] = now
            self._times.move_to_end(key)
            if len(self._times) > self._most:
                self._times.popitem(last=False)


class _Flight(Generic[T]):
    """One call: in progress, or completed and remembered."""

    __slots__ = ("future", "landed_at", "started_at")

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.landed_at: float | None = None
        self.future: Future[T] = Future()
        # A running future cannot be cancelled: a follower that stops waiting takes nothing from the others.
        self.future.set_running_or_notify_cancel()


class SingleFlight(Generic[T]):
    """Coalesce concurrent calls per key: the first caller runs the work, later callers receive its result.

    A result is remembered for ``seconds`` after it arrived, at most ``capacity`` of them (oldest evicted first). An
    error is raised for every waiting caller, and is not remembered. With ``freshness``, a result older than so many
    seconds, counted from the start of the work, is not shared, remembered or in progress. A caller waits for another
    for ``patience`` seconds, then raises ``Timeout``. Keys may be tokens: only their digests are kept.
    """

    def __init__(
        self,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        capacity: int = 4096,
        *,
        freshness: float | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._capacity = capacity
        self._freshness = freshness
        self._patience = patience
        self._lock = threading.Lock()
        self._flights: OrderedDict[bytes, _Flight[T]] = OrderedDict()
        # The event loop itself holds only weak references to tasks.
        self._tasks: set[asyncio.Task[T]] = set()

    def run(self, key: str, work: Callable[[], T]) -> T:
        """The result of the work, for threads."""
        place = _digest(key)
        flight, is_leader = self._board(place)
        if not is_leader:
            with self._following(place, flight):
                return flight.future.result(self._patience)
        try:
            result = work()
        except BaseException as error:
            self._land(place, flight, error)
            raise
        self._land(place, flight, None, result)
        return result

    async def run_async(self, key: str, work: Work[T]) -> T:
        """The same for tasks, of any event loop.

        The work runs in its own task: it completes for the others although its caller is cancelled.
        """
        place = _digest(key)
        flight, is_leader = self._board(place)
        if is_leader:
            task = asyncio.create_task(work())
            self._tasks.add(task)
            task.add_done_callback(partial(self._task_done, place, flight))
        elif flight.landed_at is not None:
            return flight.future.result()
        with self._following(place, flight):
            async with asyncio.timeout(None if is_leader else self._patience):
                return await asyncio.wrap_future(flight.future)

    def forget(self, key: str) -> None:
        """Drop the remembered result. A call in progress completes for those who wait already, and no later caller."""
        with self._lock:
            self._flights.pop(_digest(key), None)

    def is_flying(self, key: str) -> bool:
        """Whether a call for ``key`` is in progress."""
        flight = self._flights.get(_digest(key))
        return flight is not None and flight.landed_at is None and self._is_usable(flight)

    async def finish(self) -> None:
        """Await the calls in progress on this event loop, whatever their outcome."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(task for task in list(self._tasks) if task.get_loop() is loop), return_exceptions=True)

    def _board(self, place: bytes) -> tuple[_Flight[T], bool]:
        """The flight to share, and whether the caller leads it."""
        with self._lock:
            flight = self._flights.get(place)
            if flight is not None and self._is_usable(flight):
                return flight, False
            self._flights.pop(place, None)
            while self._flights:
                oldest = next(iter(self._flights.values()))
                if len(self._flights) < self._capacity and self._is_usable(oldest):
                    break
                self._flights.popitem(last=False)
            flight = self._flights[place] = _Flight(self._clock())
            return flight, True

    @contextmanager
    def _following(self, place: bytes, flight: _Flight[T]) -> Iterator[None]:
        """Raise a copy of the leader's error: one raised for several callers would accumulate their tracebacks."""
        try:
            yield
        except KeysteadError as error:
            raise copy(error) from None
        except TimeoutError:
            # The next caller leads; this flight still completes for those who wait.
            with self._lock:
                if self._flights.get(place) is flight:
                    del self._flights[place]
            raise Timeout("another caller's request for the same took too long", was_sent=False) from None

    def _task_done(self, place: bytes, flight: _Flight[T], task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._land(place, flight, error, *(() if error else (task.result(),)))

    def _land(self, place: bytes, flight: _Flight[T], error: BaseException | None, *result: T) -> None:
        # The memory is updated before the waiting callers are: a later caller never gets a result that is over.
        with self._lock:
            if self._flights.get(place) is flight:
                del self._flights[place]
                if error is None and self._seconds > 0:
                    flight.landed_at = self._clock()
                    self._flights[place] = flight
        if error is None:
            flight.future.set_result(*result)
        elif isinstance(error, Exception):
            flight.future.set_exception(error)
        else:
            flight.future.set_exception(NetworkError("the request was broken off", was_sent=True))

    def _is_usable(self, flight: _Flight[T]) -> bool:
        now = self._clock()
        # `0 <=`: a clock that was set back must not make an old result young forever.
        if self._freshness is not None and not 0 <= now - flight.started_at < self._freshness:
            return False
        return flight.landed_at is None or 0 <= now - flight.landed_at < self._seconds


class Share(Protocol):
    """How concurrent callers share a result: between tasks, or between threads without an event loop."""

    async def __call__(self, flights: SingleFlight[T], key: str, work: Work[T]) -> T:
        """The result of the work. Raises what the work raised, or ``Timeout``."""


async def share_between_tasks(flights: SingleFlight[T], key: str, work: Work[T]) -> T:
    """For tasks: waiting callers do not block the event loop."""
    return await flights.run_async(key, work)


async def share_between_threads(flights: SingleFlight[T], key: str, work: Work[T]) -> T:
    """For threads: never suspends, so that :func:`run_sync` can drive it; a waiting caller blocks its thread."""
    return flights.run(key, lambda: run_sync(work()))


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends, without an event loop.

    :raises RuntimeError: the coroutine suspended.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("this is asynchronous: use keystead_client.auth")


def blocking(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """A method for threads, of a coroutine method that never suspends there."""

    @wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run_sync(method(self, *args, **kwargs))

    return call


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
