"""Password hashing in a small thread pool with a bounded queue (security §6).

Argon2 takes 35-52 ms of a core and 19 MiB each: unbounded, a hundred logins would take 2 GiB and starve the event loop.
A slot belongs to the thread that hashes, not to the request: a client that disconnects leaves the queue, but a hash
that has started occupies its slot until it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from argon2.exceptions import Argon2Error

from keystead.crypto import argon2id
from keystead.crypto.argon2id import Profile, StoredHash
from keystead.crypto.hash_queue import HashQueue, Share
from keystead.errors import ServerBusy

__all__ = ["PasswordPool", "PoolLoad", "Profile", "Share"]

QUEUE_SIZE = 64
MAX_WAIT = 2.0
_MOST_THREADS = 2
# Above the event loop's 0: on a busy core the loop comes first, and its lag stays small.
_NICENESS = 5
T = TypeVar("T")


class PoolLoad(NamedTuple):
    """How many hashes wait, run now, and were started since the pool was created."""

    waiting: int
    running: int
    begun: int


@dataclass(eq=False, slots=True)
class _Job:
    work: Callable[[], Any]
    share: Share | None
    queued_at: float
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]

    def finish(self, result: Any, error: BaseException | None = None) -> None:
        """Deliver the outcome, from any thread. The request may be gone, and the event loop too."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._deliver, result, error)

    def _deliver(self, result: Any, error: BaseException | None) -> None:
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)


class PasswordPool:
    """Hashes and verifies passwords. Threads start with the first use and end with :meth:`close`."""

    def __init__(
        self,
        profile: Profile | None = None,
        threads: int | None = None,
        *,
        queue: int = QUEUE_SIZE,
        max_wait: float = MAX_WAIT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``threads``: by default one per usable core, at most 2. ``max_wait`` is in seconds."""
        self.profile = profile or Profile()
        self.thread_count = threads or min(_usable_cores(), _MOST_THREADS)
        self._max_wait = max_wait
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._queue: HashQueue[_Job] = HashQueue(queue)
        # Each admitted job submits one call of _run_next, which takes whichever job is next by then.
        self._executor = ThreadPoolExecutor(self.thread_count, "password", initializer=_lower_priority)
        self._running = 0
        self._begun = 0
        self._is_closed = False

    @property
    def load(self) -> PoolLoad:
        """For the metrics."""
        with self._lock:
            return PoolLoad(len(self._queue), self._running, self._begun)

    async def hash(self, password: str, *, share: Share | None = None) -> str:
        """The PHC string to store for a password that satisfies the rules.

        :raises ServerBusy: when the queue is full, or the wait in it was too long.
        """
        return await self._run(partial(argon2id.make, self.profile, password.encode()), share)

    async def verify(self, stored: str | None, password: str, *, share: Share | None = None) -> bool:
        """Whether the password is that of the stored hash. Without a usable hash: False, after the same time.

        :raises ServerBusy: when the queue is full, or the wait in it was too long.
        """
        return await self._run(partial(argon2id.matches, self.profile, stored, password.encode()), share)

    async def verify_absent(self, password: str, *, share: Share | None = None) -> None:
        """Spend the time of a verification where there is no hash to verify against.

        :raises ServerBusy: as :meth:`verify` does.
        """
        await self.verify(None, password, share=share)

    def needs_rehash(self, stored: str) -> bool:
        """Whether a hash that was just verified is weaker than those made now."""
        usable = StoredHash.read(stored)
        return usable is None or usable.is_weaker_than(self.profile)

    def close(self) -> None:
        """Reject the waiting jobs, and end the threads after the hashes that have started."""
        with self._lock:
            self._is_closed = True
            waiting = self._queue.clear()
        for job in waiting:
            job.finish(None, _busy("the server is stopping"))
        self._executor.shutdown()

    async def _run(self, work: Callable[[], T], share: Share | None) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        job = _Job(work, share, self._monotonic(), loop, answer)
        self._admit(job)
        timer = loop.call_later(self._max_wait, self._give_up, job)
        try:
            return await answer
        finally:
            timer.cancel()
            self._withdraw(job)

    def _admit(self, job: _Job) -> None:
        with self._lock:
            if self._is_closed:
                raise _busy("the server is stopping")
            evicted = self._queue.put(job)
            if evicted is not job:
                self._executor.submit(self._run_next)
        if evicted is job:
            raise _busy("the queue is full, or the job's share of it")
        if evicted is not None:
            evicted.finish(None, _busy("evicted from a full queue: more than its share"))

    def _give_up(self, job: _Job) -> None:
        if self._withdraw(job):
            job.finish(None, _busy("waited too long"))

    def _withdraw(self, job: _Job) -> bool:
        with self._lock:
            return self._queue.withdraw(job)

    def _run_next(self) -> None:
        """On a thread: the next job, unless it was withdrawn."""
        job = self._next_job()
        if job is None:
            return
        result, error = _outcome(job.work)
        with self._lock:
            self._running -= 1
        job.finish(result, error)

    def _next_job(self) -> _Job | None:
        with self._lock:
            while (job := self._queue.take()) is not None:
                if self._monotonic() - job.queued_at > self._max_wait:
                    job.finish(None, _busy("waited too long"))
                elif not job.answer.cancelled():
                    self._running += 1
                    self._begun += 1
                    return job
            return None


def _outcome(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return work(), None
    except Argon2Error as error:  # a mismatch is a result: what is left is a lack of memory
        return None, _busy(f"{type(error).__name__}: {error}")
    except Exception as error:
        return None, error


def _busy(cause: str) -> ServerBusy:
    return ServerBusy(cause=cause)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _lower_priority() -> None:
    """On Linux niceness belongs to the thread."""
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
