"""The password pool: bounded queue, timeouts, and slots that belong to running hashes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from argon2.exceptions import HashingError

from keystead.crypto import argon2id
from keystead.crypto.passwords import PasswordPool, PoolLoad, Profile, Share
from keystead.errors import ServerBusy

CHEAP = Profile.for_tests()
PASSWORD = "rainbow123"


@pytest.fixture
def pool() -> Iterator[PasswordPool]:
    pool = PasswordPool(CHEAP, threads=2)
    yield pool
    pool.close()


class Gate:
    """Replaces Argon2: a hash starts immediately and ends when the test opens the gate."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun: list[bytes] = []
        self._changed = threading.Condition()

    def matches(self, profile: Profile, stored: str | None, password: bytes) -> bool:
        with self._changed:
            self.begun.append(password)
            self._changed.notify_all()
        assert self.open.wait(30)
        return True

    async def until_begun(self, count: int) -> None:
        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: len(self.begun) >= count, timeout=30)

        assert await asyncio.to_thread(wait)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(argon2id, "matches", gate.matches)
    yield gate
    gate.open.set()


@pytest.fixture
def one_thread(gate: Gate) -> Iterator[Callable[..., PasswordPool]]:
    """Pools with one thread, closed after the gate has been opened."""
    pools: list[PasswordPool] = []

    def make(queue: int = 64, max_wait: float = 30, **options: Callable[[], float]) -> PasswordPool:
        pools.append(PasswordPool(CHEAP, threads=1, queue=queue, max_wait=max_wait, **options))
        return pools[-1]

    yield make
    gate.open.set()
    for pool in pools:
        pool.close()


async def queued(pool: PasswordPool, name: str, share: Share | None = None) -> asyncio.Task[bool]:
    """A verification that has been put in the queue."""
    task = asyncio.create_task(pool.verify(None, name, share=share))
    await asyncio.sleep(0)
    return task


async def test_hash_and_verify(pool: PasswordPool) -> None:
    stored = await pool.hash(PASSWORD)
    assert await pool.verify(stored, PASSWORD)
    assert not await pool.verify(stored, PASSWORD + "4")
    assert not await pool.verify(None, PASSWORD)
    assert PASSWORD not in stored
    begun = pool.load.begun
    await pool.verify_absent(PASSWORD)
    assert pool.load.begun == begun + 1


async def test_weaker_hashes_need_a_rehash(pool: PasswordPool) -> None:
    stored = await pool.hash(PASSWORD)
    stronger = PasswordPool(Profile(64, 2))
    assert not pool.needs_rehash(stored)
    assert stronger.needs_rehash(stored)
    assert stronger.needs_rehash("not a hash")


async def test_defaults_and_no_threads_before_the_first_hash() -> None:
    before = threading.active_count()
    pool = PasswordPool()
    assert pool.profile.is_acceptable
    assert pool.thread_count <= 2
    assert (pool.load, threading.active_count()) == (PoolLoad(0, 0, 0), before)


class TestBounds:
    async def test_no_more_hashes_run_than_there_are_threads(self, gate: Gate, pool: PasswordPool) -> None:
        tasks = [await queued(pool, str(number)) for number in range(10)]
        await gate.until_begun(2)
        assert pool.load == PoolLoad(waiting=8, running=2, begun=2)
        gate.open.set()
        assert await asyncio.gather(*tasks) == [True] * 10
        assert len(gate.begun) == 10

    async def test_a_full_queue_rejects_immediately(self, gate: Gate, one_thread: Callable[..., PasswordPool]) -> None:
        pool = one_thread(queue=2)
        running = await queued(pool, "running")
        await gate.until_begun(1)
        waiting = [await queued(pool, f"waiting {number}") for number in range(2)]
        with pytest.raises(ServerBusy) as refused:
            await pool.verify(None, "one too many")
        assert refused.value.status == 503
        assert "queue" not in refused.value.message
        gate.open.set()
        assert await asyncio.gather(running, *waiting) == [True] * 3

    async def test_a_job_that_waits_too_long_is_rejected(
        self, gate: Gate, one_thread: Callable[..., PasswordPool]
    ) -> None:
        pool = one_thread(max_wait=0.05)
        running = await queued(pool, "running")
        await gate.until_begun(1)
        with pytest.raises(ServerBusy):
            await pool.verify(None, "too long")
        assert pool.load.waiting == 0
        gate.open.set()
        # The one that had begun is answered, however long it took.
        assert await running

    async def test_a_thread_skips_jobs_that_waited_too_long(
        self, gate: Gate, one_thread: Callable[..., PasswordPool]
    ) -> None:
        hands = [0.0]
        pool = one_thread(max_wait=30, monotonic=lambda: hands[0])
        running = await queued(pool, "running")
        await gate.until_begun(1)
        late = await queued(pool, "late")
        hands[0] = 30.1
        fresh = await queued(pool, "fresh")
        gate.open.set()
        assert list(await asyncio.gather(running, fresh)) == [True, True]
        with pytest.raises(ServerBusy):
            await late
        assert gate.begun == [b"running", b"fresh"]

    async def test_one_address_cannot_starve_others(self, gate: Gate, one_thread: Callable[..., PasswordPool]) -> None:
        pool = one_thread(queue=8)
        flood = [await queued(pool, "flood", Share("brand", "attacker")) for _ in range(9)]
        await gate.until_begun(1)
        flood.append(await queued(pool, "flood", Share("brand", "attacker")))
        guest = await queued(pool, "guest", Share("brand", "guest"))
        gate.open.set()
        assert await guest
        results = await asyncio.gather(*flood, return_exceptions=True)
        assert sum(isinstance(result, ServerBusy) for result in results) == 2


class TestDisconnectedClients:
    async def test_a_started_hash_keeps_its_slot(self, gate: Gate, one_thread: Callable[..., PasswordPool]) -> None:
        """A48."""
        pool = one_thread()
        gone = await queued(pool, "gone")
        await gate.until_begun(1)
        gone.cancel()
        following = await queued(pool, "following")
        assert gone.cancelled()
        assert pool.load == PoolLoad(waiting=1, running=1, begun=1)
        assert gate.begun == [b"gone"]
        gate.open.set()
        assert await following

    async def test_a_waiting_job_is_withdrawn(self, gate: Gate, one_thread: Callable[..., PasswordPool]) -> None:
        pool = one_thread()
        running = await queued(pool, "running")
        await gate.until_begun(1)
        gone = [await queued(pool, "gone") for _ in range(20)]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert pool.load.waiting == 0
        gate.open.set()
        assert await running
        assert gate.begun == [b"running"]

    def test_a_closed_loop_does_not_stop_the_thread(self, gate: Gate, one_thread: Callable[..., PasswordPool]) -> None:
        pool = one_thread()

        async def leave() -> None:
            await queued(pool, "left behind")
            await gate.until_begun(1)

        asyncio.run(leave())
        gate.open.set()
        assert asyncio.run(pool.verify(None, "next"))


class TestEnd:
    async def test_close_rejects_waiting_jobs(self, gate: Gate, one_thread: Callable[..., PasswordPool]) -> None:
        pool = one_thread()
        running = await queued(pool, "running")
        await gate.until_begun(1)
        waiting = await queued(pool, "waiting")
        gate.open.set()
        await asyncio.to_thread(pool.close)
        results = await asyncio.gather(running, waiting, return_exceptions=True)
        assert results[0] is True
        assert isinstance(results[1], ServerBusy) or results[1] is True
        with pytest.raises(ServerBusy):
            await pool.verify(None, "after")

    async def test_close_ends_the_threads(self) -> None:
        before = threading.active_count()
        pool = PasswordPool(CHEAP, threads=2)
        await pool.hash(PASSWORD)
        pool.close()
        pool.close()
        assert threading.active_count() == before

    async def test_a_lack_of_memory_is_busy(self, monkeypatch: pytest.MonkeyPatch, pool: PasswordPool) -> None:
        def fail(*_: object) -> str:
            raise HashingError("Memory allocation error")

        monkeypatch.setattr(argon2id, "make", fail)
        with pytest.raises(ServerBusy) as busy:
            await pool.hash(PASSWORD)
        assert "Memory" in str(busy.value.cause)
        assert "Memory" not in busy.value.message

    async def test_an_exception_reaches_the_caller_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pool = PasswordPool(CHEAP, threads=1)
        with monkeypatch.context() as patch:
            patch.setattr(argon2id, "make", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await pool.hash(PASSWORD)
        assert await pool.hash(PASSWORD)
        assert pool.load == PoolLoad(0, 0, 2)
        pool.close()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the kernel tells no affinity")
def test_a_pinned_process_gets_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert PasswordPool(CHEAP).thread_count == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert PasswordPool(CHEAP).thread_count == 2
