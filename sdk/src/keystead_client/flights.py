"""One flight for each key, shared by everybody who asks while it is in the air and for a moment after it has landed.

For the tasks of one event loop; between threads see :mod:`keystead_client.single_flight`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    landed_at: float | None = None


class Flights(Generic[T]):
    """Outcomes by key, remembered for ``seconds``; a failure is shared with those who wait for it and not remembered.

    A flight is a task of its own: a browser that hangs up takes nobody else's answer away.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], capacity: int = 4096) -> None:
        self._seconds = seconds
        self._clock = clock
        self._capacity = capacity
        self._flights: dict[bytes, _Flight[T]] = {}

    async def join(self, key: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome for ``key``: remembered, awaited, or that of ``start``. Raises what the flight raised."""
        place = _digest(key)
        flight = self._flights.get(place)
        if flight is None or not self._is_good(flight):
            flight = self._start(place, start)
        return await asyncio.shield(flight.task)

    def forget(self, key: str) -> None:
        """Remember nothing about ``key``. A flight in the air lands for those who wait for it."""
        self._flights.pop(_digest(key), None)

    def _start(self, place: bytes, start: Callable[[], Coroutine[Any, Any, T]]) -> _Flight[T]:
        self._forget_the_oldest()
        flight = _Flight(asyncio.create_task(start()))
        self._flights.pop(place, None)
        self._flights[place] = flight
        flight.task.add_done_callback(lambda task: self._land(place, flight, task))
        return flight

    def _forget_the_oldest(self) -> None:
        while self._flights:
            oldest = next(iter(self._flights))
            if self._is_good(self._flights[oldest]) and len(self._flights) < self._capacity:
                return
            del self._flights[oldest]

    def _land(self, place: bytes, flight: _Flight[T], task: asyncio.Task[T]) -> None:
        flight.landed_at = self._clock()
        # Reading the exception tells asyncio that somebody has seen it, even if everybody has hung up.
        failed = task.cancelled() or task.exception() is not None
        if failed and self._flights.get(place) is flight:
            del self._flights[place]

    def _is_good(self, flight: _Flight[T]) -> bool:
        if not flight.task.done():
            return flight.task.get_loop() is asyncio.get_running_loop()
        if flight.task.cancelled() or flight.task.exception() is not None:
            return False
        if flight.landed_at is None:
            return True
        # A clock that was turned back must not make an old answer young for ever.
        return 0 <= self._clock() - flight.landed_at < self._seconds


def _digest(key: str) -> bytes:
    # Keys are tokens: the table need not hold them.
    return hashlib.sha256(key.encode()).digest()
