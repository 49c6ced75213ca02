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
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar

from keystead_client.errors import KeysteadError, NetworkError, Timeout

T = TypeVar("T")
P = ParamSpec("P")
Work = Callable[[], Coroutine[Any, Any, T]]

PATIENCE: Final = 90.0
"""Seconds after which a follower gives up on the leader: longer than any request with all its retries."""


class RecentTokens:
    """The last ``most`` tokens that were added, each with a time. Holds digests only. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._times: dict[bytes, float] = {}

    def __contains__(self, token: str) -> bool:
        return self.added_at(token) is not None

    def added_at(self, token: str) -> float | None:
        """When the token was last added; None if it is not in the set."""
        return self._times.get(_digest(token))

    def add(self, token: str, now: float = 0.0) -> None:
        """Add the token; evict the oldest one if the set is full."""
        with self._lock:
            self._times.pop(_digest(token), None)
            self._times[_digest(token)] = now
            if len(self._times) > self._most:
                del self._times[next(iter(self._times))]


@dataclass(eq=False, slots=True)
class _Flight(Generic[T]):
    """One call: in progress, or completed and remembered."""

    place: bytes
    started_at: float
    landed_at: float | None = None
    thread: int = field(default_factory=threading.get_ident)
    loop: asyncio.AbstractEventLoop | None = field(default_factory=asyncio._get_running_loop)
    future: Future[T] = field(default_factory=Future)


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
        self._seconds, self._clock, self._capacity = seconds, clock, capacity
        self._freshness, self._patience = freshness, patience
        self._lock = threading.Lock()
        self._flights: OrderedDict[bytes, _Flight[T]] = OrderedDict()
        # The event loop itself holds only weak references to tasks.
        self._tasks: set[asyncio.Task[T]] = set()

    async def run_in_thread(self, key: str, work: Work[T]) -> T:
        """The result of the work, for threads: never suspends, so that :func:`run_sync` can drive it.

        Never waits for its own thread: on an event loop that runs the same work for a task, it does the work itself.
        """
        flight, is_leader = self._board(_digest(key))
        if is_leader:
            try:
                result = run_sync(work())
            except BaseException as error:
                self._land(flight, error)
                raise
            self._land(flight, None, result)
            return result
        if flight.thread == threading.get_ident() and not flight.future.done():
            return await work()
        with self._following(flight):
            return flight.future.result(self._patience)

    async def run_in_task(self, key: str, work: Work[T]) -> T:
        """The same for tasks, of any event loop.

        The work runs in its own task: it completes for the others although its caller is cancelled.
        """
        flight, is_leader = self._board(_digest(key))
        if is_leader:
            task = asyncio.create_task(work())
            self._tasks.add(task)
            task.add_done_callback(partial(self._task_done, flight))
        with self._following(flight):
            if flight.future.done():
                return flight.future.result()
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
            flight = self._flights[place] = _Flight(place, self._clock())
            # A running future cannot be cancelled: a follower that stops waiting takes nothing from the others.
            flight.future.set_running_or_notify_cancel()
            return flight, True

    @contextmanager
    def _following(self, flight: _Flight[T]) -> Iterator[None]:
        """Raise a copy of the leader's error: one raised for several callers would accumulate their tracebacks."""
        try:
            yield
        except KeysteadError as error:
            raise copy(error) from None
        except TimeoutError:
            # The next caller leads; this flight still completes for those who wait.
            self._drop(flight)
            raise Timeout("another caller's request for the same took too long", was_sent=False) from None

    def _task_done(self, flight: _Flight[T], task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._land(flight, error, *(() if error else (task.result(),)))

    def _land(self, flight: _Flight[T], error: BaseException | None, *result: T) -> None:
        # The memory is updated before the waiting callers are: a later caller never gets a result that is over.
        flight.landed_at = self._clock()
        if error is not None or not self._seconds:
            self._drop(flight)
        if error is None:
            flight.future.set_result(*result)
        elif isinstance(error, Exception):
            flight.future.set_exception(error)
        else:
            flight.future.set_exception(NetworkError("the request was broken off", was_sent=False))

    def _drop(self, flight: _Flight[T]) -> None:
        with self._lock:
            if self._flights.get(flight.place) is flight:
                del self._flights[flight.place]

    def _is_usable(self, flight: _Flight[T]) -> bool:
        now = self._clock()
        # `0 <=`: a clock that was set back must not make an old result young forever.
        if flight.loop is not None and flight.loop.is_closed() and not flight.future.done():
            return False
        if self._freshness is not None and not 0 <= now - flight.started_at < self._freshness:
            return False
        return flight.landed_at is None or 0 <= now - flight.landed_at < self._seconds


class Share(Protocol):
    """How concurrent callers share a result: ``SingleFlight.run_in_task`` or ``SingleFlight.run_in_thread``."""

    async def __call__(self, flights: SingleFlight[T], key: str, work: Work[T], /) -> T:
        """The result of the work. Raises what the work raised, or ``Timeout``."""


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
