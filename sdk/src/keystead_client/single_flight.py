"""One at a time, for everybody who asks meanwhile: across tasks, event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Generic, TypeVar

from keystead_client.errors import Timeout

T = TypeVar("T")


class _Abandoned(Exception):
    """Who led was cancelled or interrupted; somebody else has to lead."""


class SingleFlight(Generic[T]):
    """The first who asks for a key leads and does the work; others who ask before it is done share what comes of it.

    A leader who is cancelled hands over to one of those who wait. An error of the work is raised for everybody.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Future[T]] = {}

    def run(self, key: Hashable, work: Callable[[], T], patience: float | None = None) -> T:
        """What came of the work. Raises ``Timeout`` after waiting ``patience`` seconds for somebody else's."""
        while True:
            future, is_leader = self._join(key)
            if is_leader:
                try:
                    result = work()
                except BaseException as error:
                    self._land(key, future, error)
                    raise
                self._land(key, future, None, result)
                return result
            try:
                return future.result(patience)
            except _Abandoned:
                continue
            except FutureTimeout:
                if future.done():
                    raise
                raise Timeout("somebody else's refresh took too long", was_sent=False) from None

    async def run_async(self, key: Hashable, work: Callable[[], Awaitable[T]], patience: float | None = None) -> T:
        """The same for tasks, of any event loop."""
        while True:
            future, is_leader = self._join(key)
            if is_leader:
                try:
                    result = await work()
                except BaseException as error:
                    self._land(key, future, error)
                    raise
                self._land(key, future, None, result)
                return result
            try:
                return await asyncio.wait_for(asyncio.wrap_future(future), patience)
            except _Abandoned:
                continue
            except TimeoutError:
                if future.done():
                    raise
                raise Timeout("somebody else's refresh took too long", was_sent=False) from None

    def _join(self, key: Hashable) -> tuple[Future[T], bool]:
        with self._lock:
            if key in self._flights:
                return self._flights[key], False
            future: Future[T] = Future()
            # A future that runs cannot be cancelled: one who stops waiting takes nothing from the others.
            future.set_running_or_notify_cancel()
            self._flights[key] = future
            return future, True

    def _land(self, key: Hashable, future: Future[T], error: BaseException | None, *result: T) -> None:
        # Forgotten before it is answered: who comes now must not be given what is over.
        with self._lock:
            del self._flights[key]
        if error is None:
            future.set_result(result[0])
        else:
            future.set_exception(error if isinstance(error, Exception) else _Abandoned())
