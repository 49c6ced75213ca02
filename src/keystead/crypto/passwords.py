"""Password hashing in a small pool of threads of its own (security §6).

Argon2 takes 35-52 ms of a core and 19 MiB each: unbounded, a hundred logins would take 2 GiB and starve
the event loop. So there are few threads, a bounded queue, and 503 for who waits too long. A slot belongs
to the thread that hashes, not to the request that asked: a client that disconnects takes its place in the
queue with it, but a hash that has begun counts until it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
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
    """How busy the pool is, and how many hashes it has begun since it was made."""

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
        """From any thread. The request may be gone, and the loop too."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)


class PasswordPool:
    """Hashes and verifies. Threads start with the first use and end with :meth:`close`."""

    def __init__(
        self,
        profile: Profile | None = None,
        threads: int | None = None,
        *,
        queue: int = QUEUE_SIZE,
        max_wait: float = MAX_WAIT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``threads``: by default one per core of ours, at most 2. ``max_wait`` is in seconds."""
        self.profile = profile or Profile()
        self._thread_count = threads or min(_usable_cores(), _MOST_THREADS)
        self._max_wait = max_wait
        self._monotonic = monotonic
        self._queue: HashQueue[_Job] = HashQueue(queue)
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._begun = 0
        self._is_closed = False

    @property
    def load(self) -> PoolLoad:
        """For the metrics."""
        with self._changed:
            return PoolLoad(len(self._queue), self._running, self._begun)

    async def hash(self, password: str, *, share: Share | None = None) -> str:
        """The PHC string to store for a password that the rules have passed.

        :raises ServerBusy: when the queue is full, or the wait in it was too long.
        """
        return await self._run(partial(argon2id.make, self.profile, password.encode()), share)

    async def verify(self, stored: str | None, password: str, *, share: Share | None = None) -> bool:
        """Whether the password is that of the stored hash. Without a usable one: False, after as long.

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
        """Send away who waits, and end the threads after the hash that each is at."""
        with self._changed:
            self._is_closed = True
            left = self._queue.empty()
            self._changed.notify_all()
        for job in left:
            job.finish(None, _busy("the server is stopping"))
        for thread in self._threads:
            thread.join()

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
        with self._changed:
            if self._is_closed:
                raise _busy("the server is stopping")
            sent_away = self._queue.put(job)
            if sent_away is not job:
                self._start_threads()
                self._changed.notify()
        if sent_away is job:
            raise _busy("the queue is full, or one account's share of it")
        if sent_away is not None:
            sent_away.finish(None, _busy("sent away for another account: more than its share of a full queue"))

    def _give_up(self, job: _Job) -> None:
        if self._withdraw(job):
            job.finish(None, _busy("waited too long"))

    def _withdraw(self, job: _Job) -> bool:
        with self._changed:
            return self._queue.withdraw(job)

    def _start_threads(self) -> None:
        # With the first job, not before: a process that never hashes has no threads, and may fork.
        while len(self._threads) < self._thread_count:
            name = f"password-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        _step_back()
        while (job := self._next_job()) is not None:
            result, error = _outcome(job.work)
            with self._changed:
                self._running -= 1
            job.finish(result, error)

    def _next_job(self) -> _Job | None:
        """The next one that has not waited too long; None when the pool is closed."""
        with self._changed:
            while not self._is_closed:
                job = self._queue.take()
                if job is None:
                    self._changed.wait()
                elif self._monotonic() - job.queued_at > self._max_wait:
                    job.finish(None, _busy("waited too long"))
                elif not job.answer.cancelled():
                    self._running += 1
                    self._begun += 1
                    return job
            return None


def _outcome(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return work(), None
    except Argon2Error as error:  # a mismatch is an answer; what is left is a lack of memory
        return None, _busy(f"{type(error).__name__}: {error}")
    except Exception as error:
        return None, error


def _busy(cause: str) -> ServerBusy:
    return ServerBusy(cause=cause)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _step_back() -> None:
    """On Linux niceness belongs to the thread."""
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
