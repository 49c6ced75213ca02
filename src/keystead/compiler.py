"""Worker threads for what takes long to compile: schemas, tables and statements of entities, patterns, definitions.

Pure Python on a thread still shares the interpreter with the event loop, but the loop gets its turn every switch
interval instead of once at the end. One job at a time for each brand, so that a brand that changes its entities again
and again delays itself alone.
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
"""Jobs that wait for another one of the same brand."""
MOST_TOGETHER = 1024
"""Jobs of all brands that wait."""
LONGEST_WAIT = 10.0
"""Seconds that a job waits for those of its brand."""

T = TypeVar("T")


class Coalescer(Generic[T]):
    """Coalesce concurrent calls per key: the first caller starts the work, later callers receive its result.

    The work is a separate task: a caller that is cancelled leaves it to the others. Nothing is kept of it when it is
    done, and work that failed is started again by the next caller.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``work`` returns, or raises."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(work())
            task.add_done_callback(partial(self._done, key))
        return await asyncio.shield(task)

    def _done(self, key: Hashable, task: asyncio.Task[T]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # seen, also where every caller that waited is gone


class Compiler:
    """A bounded pool of threads with a lock for each key. Threads start with the first job."""

    def __init__(
        self,
        *,
        most_waiting: int = MOST_WAITING,
        most_together: int = MOST_TOGETHER,
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        self._most_waiting = most_waiting
        self._most_together = most_together
        self._longest_wait = longest_wait
        self._waiting: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="keystead-compiler")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, key: str, work: Callable[[], T]) -> T:
        """What ``work`` returns, or raises, on a thread; never beside another job of the same ``key``.

        The slot belongs to the thread: cancelling the caller frees it only when ``work`` has not begun.

        :raises ServerBusy: when too many jobs wait, or this one waited too long for its turn.
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
        if self._waiting[key] >= self._most_waiting or self._waiting.total() >= self._most_together:
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
"""The one of this process."""
MATCHER = Compiler()
"""For patterns over long texts: apart, so that no schema or statement waits for a match."""
