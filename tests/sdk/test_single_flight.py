"""Coalesced calls across tasks, event loops and threads, and their remembered results."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from keystead_client._single_flight import RecentTokens, SingleFlight, run_sync
from keystead_client.errors import NetworkError, ServerError, Timeout


def run_in_thread(flights: SingleFlight[int], work: Callable[[], int], key: str = "a") -> int:
    """The result of work that never suspends."""

    async def once() -> int:
        return work()

    return run_sync(flights.run_in_thread(key, once))


class Work:
    """Work that counts its runs and ends when it may, with that number or an error."""

    def __init__(self, capacity: int = 4096, freshness: float | None = None, seconds: float = 10) -> None:
        self.now = 100.0
        self.runs = 0
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()
        self.error: Exception | None = None
        self.flights: SingleFlight[int] = SingleFlight(seconds, lambda: self.now, capacity, freshness=freshness)

    async def __call__(self) -> int:
        self.runs += 1
        number = self.runs
        self.started.set()
        await self.may_end.wait()
        if self.error:
            raise self.error
        return number

    def start(self, key: str = "a") -> asyncio.Task[int]:
        return asyncio.create_task(self.flights.run_in_task(key, self))

    async def quick(self, key: str = "a") -> int:
        self.may_end.set()
        return await self.start(key)


async def test_concurrent_calls_share_one_run() -> None:
    work = Work(seconds=0)
    calls = [work.start() for _ in range(50)]
    other = work.start("b")
    await work.started.wait()
    assert work.flights.is_flying("a")
    work.may_end.set()
    assert await asyncio.gather(*calls) == [1] * 50
    assert await other == 2
    assert not work.flights.is_flying("a")
    assert await work.quick() == 3


@pytest.mark.parametrize("error", [ServerError("no"), LookupError("no")])
async def test_an_error_is_raised_for_all_who_wait_and_not_remembered(error: Exception) -> None:
    work = Work()
    work.error = error
    calls = [work.start() for _ in range(3)]
    work.may_end.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(error)] * 3
    # Equal exceptions, not one that would accumulate their tracebacks.
    assert len({id(outcome) for outcome in outcomes}) == (3 if isinstance(error, ServerError) else 1)
    work.error = None
    assert await work.quick() == 2


@pytest.mark.parametrize("who", [0, 1])
async def test_a_cancelled_caller_takes_nothing_from_the_others(who: int) -> None:
    """The leader either: a refresh that was broken off would lose the tokens that the server has just issued."""
    work = Work()
    calls = [work.start() for _ in range(3)]
    await work.started.wait()
    calls[who].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[who]
    work.may_end.set()
    await work.flights.finish()
    assert await calls[2] == 1
    assert await work.start() == 1


async def test_work_that_is_cancelled_fails_for_all_who_wait() -> None:
    work = Work()
    calls = [work.start() for _ in range(2)]
    await asyncio.sleep(0)
    next(iter(work.flights._tasks)).cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NetworkError] * 2
    assert await work.quick() == 1


async def test_a_blocking_caller_does_not_wait_for_a_task_of_the_event_loop_it_blocks() -> None:
    """Which could not complete the work while the thread waits."""
    work = Work()
    task = work.start()
    await work.started.wait()
    assert run_in_thread(work.flights, lambda: 7) == 7
    work.may_end.set()
    assert await task == 1
    assert run_in_thread(work.flights, lambda: 7) == 1, "remembered"


async def test_a_stuck_leader_is_given_up() -> None:
    work = Work()
    work.flights._patience = 0.0
    leader = work.start()
    await work.started.wait()
    with pytest.raises(Timeout):
        await work.start()
    second = work.start()
    await asyncio.sleep(0)
    with pytest.raises(Timeout):
        await asyncio.to_thread(run_in_thread, work.flights, lambda: 7)
    assert await asyncio.to_thread(run_in_thread, work.flights, lambda: 7) == 7, "the next one leads"
    work.may_end.set()
    assert [await leader, await second] == [1, 2]
    assert await work.start() == 7, "what was given up is not remembered"


def test_threads_share_one_run() -> None:
    flights: SingleFlight[int] = SingleFlight(10)
    together, runs = threading.Barrier(8), list[int]()

    def work() -> int:
        runs.append(1)
        return 7

    def call() -> int:
        together.wait(10)
        return run_in_thread(flights, work)

    with ThreadPoolExecutor(8) as pool:
        assert [future.result() for future in [pool.submit(call) for _ in range(8)]] == [7] * 8
    assert len(runs) == 1
    with pytest.raises(ZeroDivisionError):
        run_in_thread(flights, lambda: 1 // 0, "b")
    assert run_in_thread(flights, lambda: 3, "b") == 3


def test_an_interrupted_thread_fails_for_those_who_wait() -> None:
    flights: SingleFlight[int] = SingleFlight()
    with ThreadPoolExecutor(1) as pool:

        def interrupted() -> int:
            future = next(iter(flights._flights.values())).future
            waits, wait = threading.Event(), future.result

            def result(timeout: float | None = None) -> int:
                waits.set()
                return wait(timeout)

            future.result = result  # type: ignore[method-assign]
            waiting.append(pool.submit(run_in_thread, flights, lambda: 8))
            assert waits.wait(10)
            raise KeyboardInterrupt

        waiting: list[object] = []
        with pytest.raises(KeyboardInterrupt):
            run_in_thread(flights, interrupted)
        with pytest.raises(NetworkError, match="broken off"):
            waiting[0].result(10)  # type: ignore[attr-defined]
    assert run_in_thread(flights, lambda: 9) == 9


def test_each_event_loop_of_a_program_can_call() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 7

    flights: SingleFlight[int] = SingleFlight(60)
    for key in ("a", "a", "b"):
        assert asyncio.run(flights.run_in_task(key, answer)) == 7
    assert run_in_thread(flights, lambda: 8) == 7


def test_threads_run_the_same_coroutines_without_an_event_loop() -> None:
    async def immediate() -> int:
        return 7

    async def suspends() -> int:
        await asyncio.sleep(0)
        return 7

    flights: SingleFlight[int] = SingleFlight()
    assert run_sync(flights.run_in_thread("a", immediate)) == 7
    assert asyncio.run(flights.run_in_task("a", suspends)) == 7
    with pytest.raises(RuntimeError, match=r"keystead_client\.auth"):
        run_sync(flights.run_in_thread("a", suspends))
    assert not flights._flights


async def test_a_result_is_remembered_for_a_while() -> None:
    work = Work()
    assert await work.quick() == 1
    work.now += 9.9
    assert await work.quick() == 1
    assert await work.quick("b") == 2
    work.now += 0.1
    assert await work.quick() == 3
    work.now -= 60
    assert await work.quick() == 4, "a clock that was set back makes no result young"
    work.flights.forget("a")
    assert await work.quick() == 5


async def test_what_is_forgotten_in_progress_is_not_remembered() -> None:
    """A logout forgets: a later caller must not receive what was asked before it."""
    work = Work()
    waiting = work.start()
    await work.started.wait()
    work.flights.forget("a")
    work.may_end.set()
    assert await waiting == 1
    assert await work.start() == 2


async def test_the_memory_is_bounded_and_holds_no_key_and_no_old_result() -> None:
    work = Work(capacity=3)
    for key in ("a-token", "b", "c", "d"):
        await work.quick(key)
    assert len(work.flights._flights) == 3
    assert b"a-token" not in b"".join(work.flights._flights)
    assert [await work.quick("d"), await work.quick("a-token")] == [4, 5]
    work.now += 10
    await work.quick("e")
    assert len(work.flights._flights) == 1


async def test_with_freshness_a_result_is_as_old_as_its_work() -> None:
    """An answer that arrives late describes the moment of the request."""
    work = Work(freshness=1.0)
    calls = [work.start()]
    await work.started.wait()
    work.now += 0.75
    calls.append(work.start())
    await asyncio.sleep(0)
    work.now += 0.25
    calls.append(work.start())
    work.may_end.set()
    assert await asyncio.gather(*calls) == [1, 1, 2]
    work.now += 0.75
    assert await work.start() == 2
    assert run_in_thread(work.flights, lambda: 7) == 2
    work.now += 0.25
    assert run_in_thread(work.flights, lambda: 7) == 7


async def test_a_clock_that_is_set_back_starts_no_second_run() -> None:
    work = Work()
    calls = [work.start()]
    await work.started.wait()
    work.now -= 60
    calls.append(work.start())
    work.may_end.set()
    assert await asyncio.gather(*calls) == [1, 1]


def test_recent_tokens_are_a_bounded_set_of_digests() -> None:
    recent = RecentTokens(3)
    for token, now in (("a", 1.0), ("b", 2.0), ("c", 3.0), ("b", 4.0), ("d", 5.0), ("e", 6.0)):
        recent.add(token, now)
    assert [recent.added_at(token) for token in "abcde"] == [None, 4.0, None, 5.0, 6.0]
    assert "e" in recent
    recent.add("a secret")
    assert "a secret" not in repr(vars(recent))


def test_a_flight_of_a_closed_loop_is_not_joined() -> None:
    flights: SingleFlight[int] = SingleFlight(10)

    async def hang() -> int:
        return await asyncio.Event().wait()

    async def answer() -> int:
        return 1

    async def start() -> None:
        task = asyncio.ensure_future(flights.run_in_task("key", hang))
        await asyncio.sleep(0)
        assert not task.done()

    abandoned = asyncio.new_event_loop()
    abandoned.run_until_complete(start())
    abandoned.close()
    assert asyncio.run(asyncio.wait_for(flights.run_in_task("key", answer), 5)) == 1
