"""Compile schemas, statements and patterns on a thread pool, one job at a time per brand.

A thread still shares the GIL with the event loop, but the loop runs every switch interval instead of only at the end of
the job. A brand that changes its entities repeatedly delays only itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from keystead.errors import ServerBusy

THREADS = 2
MOST_WAITING = 64
"""The most jobs of one brand that wait."""
MOST_WAITING_IN_ALL = 1024
"""The most jobs of all brands that wait."""
LONGEST_WAIT = 10.0
"""Seconds that a job waits for others of its brand."""

T = TypeVar("T")


class Coalescer(Generic[T]):
    """Coalesce concurrent calls per key: the first caller starts the work, later callers receive its result.

    The work is a separate task: cancelling a caller does not cancel it. Results and errors are not cached.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return or raise what ``work`` does."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(work())
            task.add_done_callback(partial(self._done, key))
        return await asyncio.shield(task)

    def _done(self, key: Hashable, task: asyncio.Task[T]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # retrieved, even if every caller was cancelled


class Compiler:
    """A thread pool with a bounded queue and a lock per key. Threads start with the first job."""

    def __init__(
        self,
        *,
        most_waiting: int = MOST_WAITING,
        most_in_all: int = MOST_WAITING_IN_ALL,
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        self._most_waiting = most_waiting
        self._most_in_all = most_in_all
        self._longest_wait = longest_wait
        self._waiting: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="keystead-compiler")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, key: str, work: Callable[[], T]) -> T:
        """Run ``work`` on a thread, never concurrently with another job of ``key``.

        The lock belongs to the thread: cancelling the caller does not release it before ``work`` ends.

        :raises ServerBusy: when too many jobs wait, or this one waited too long.
        """
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        await self._take(key, lock)
        loop = asyncio.get_running_loop()

        def release(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lock.release)

        job = self._threads.submit(work)
        job.add_done_callback(release)
        return await asyncio.wrap_future(job)

    async def _take(self, key: str, lock: asyncio.Lock) -> None:
        if not lock.locked() and not self._waiting[key]:
            await lock.acquire()
            return
        if self._waiting[key] >= self._most_waiting or self._waiting.total() >= self._most_in_all:
            raise ServerBusy(cause="too many schemas and statements wait to be compiled")
        self._waiting[key] += 1
        try:
            async with asyncio.timeout(self._longest_wait):
                await lock.acquire()
        except TimeoutError:
            raise ServerBusy(cause="waited too long for another compilation of the same brand") from None
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]


COMPILER = Compiler()
"""For schemas, tables and statements; one per process."""
MATCHER = Compiler()
"""For patterns on long texts: separate, so that compilation does not wait for them."""
