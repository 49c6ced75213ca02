"""Flights whose leader is gone: an event loop that ended, a thread that was interrupted, another process."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from keystead_client._single_flight import SingleFlight, run_sync, share_between_tasks, share_between_threads
from keystead_client.errors import NetworkError
from tests.forking import needs_fork


@pytest.fixture
def flight() -> SingleFlight[int]:
    """One that remembers nothing."""
    return SingleFlight()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """A thread that waits."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def when_waited_for(flight: SingleFlight[int], then: Callable[[], object]) -> None:
    """Calls ``then`` as soon as somebody waits for the one flight in the air."""
    future = next(iter(flight._flights.values())).future
    wait = future.result

    def result(timeout: float | None = None) -> int:
        then()
        return wait(timeout)

    future.result = result  # type: ignore[method-assign]


async def never() -> int:
    await asyncio.Event().wait()
    raise AssertionError


async def answer() -> int:
    await asyncio.sleep(0)
    return 7


def test_each_event_loop_of_a_program_can_ask(flight: SingleFlight[int]) -> None:
    remembering: SingleFlight[int] = SingleFlight(60)
    for _ in range(2):
        assert asyncio.run(flight.run_async("a", answer)) == 7
        assert asyncio.run(remembering.run_async("a", answer)) == 7
    assert remembering.run("a", lambda: 8) == 7


def test_what_an_ended_loop_left_in_the_air_is_asked_again(flight: SingleFlight[int]) -> None:
    loop = asyncio.new_event_loop()
    left = loop.create_task(flight.run_async("a", never))
    loop.run_until_complete(asyncio.sleep(0))
    try:
        assert flight.run("a", lambda: 8) == 8
        loop.run_until_complete(asyncio.sleep(0))
        assert asyncio.run(flight.run_async("a", answer)) == 7
    finally:
        asyncio.gather(left, *flight._tasks, return_exceptions=True).cancel()
        loop.run_until_complete(asyncio.wait([left, *flight._tasks]))
        loop.close()


def test_a_loop_that_is_run_in_pieces_goes_on_with_its_flight(flight: SingleFlight[int]) -> None:
    started: list[int] = []

    may_end = asyncio.Event()

    async def work() -> int:
        started.append(1)
        await may_end.wait()
        return 7

    async def later() -> int:
        second = asyncio.create_task(flight.run_async("a", work))
        await asyncio.sleep(0)
        may_end.set()
        return await second

    loop = asyncio.new_event_loop()
    first = loop.create_task(flight.run_async("a", work))
    loop.run_until_complete(asyncio.sleep(0))
    assert loop.run_until_complete(later()) == 7
    assert loop.run_until_complete(first) == 7
    assert started == [1]
    loop.close()


def test_a_thread_takes_over_from_a_loop_that_ends(flight: SingleFlight[int], pool: ThreadPoolExecutor) -> None:
    async def lead() -> None:
        leader = asyncio.create_task(flight.run_async("a", never))
        await asyncio.sleep(0)
        loop, waits = asyncio.get_running_loop(), asyncio.Event()
        when_waited_for(flight, lambda: loop.call_soon_threadsafe(waits.set))
        waiting.append(pool.submit(flight.run, "a", lambda: 8))
        await waits.wait()
        assert not leader.done()

    waiting: list[object] = []
    asyncio.run(lead())
    assert waiting[0].result(10) == 8  # type: ignore[attr-defined]


def test_a_thread_takes_over_from_one_that_was_interrupted(flight: SingleFlight[int], pool: ThreadPoolExecutor) -> None:
    waits = threading.Event()

    def interrupted() -> int:
        when_waited_for(flight, waits.set)
        waiting.append(pool.submit(flight.run, "a", lambda: 8))
        assert waits.wait(10)
        raise KeyboardInterrupt

    waiting: list[object] = []
    with pytest.raises(KeyboardInterrupt):
        flight.run("a", interrupted)
    assert waiting[0].result(10) == 8  # type: ignore[attr-defined]


async def test_work_that_is_cancelled_before_its_first_step_is_taken_over(flight: SingleFlight[int]) -> None:
    leader = asyncio.create_task(flight.run_async("a", never))
    other = asyncio.create_task(flight.run_async("a", answer))
    await asyncio.sleep(0)
    next(iter(flight._tasks)).cancel()
    with pytest.raises(NetworkError, match="broken off"):
        await leader
    assert await other == 7


@needs_fork
def test_a_forked_process_waits_for_nobody(flight: SingleFlight[int]) -> None:
    """Neither for the flights of its parent nor for who held the lock there."""

    def fork() -> int:
        with flight._lock:
            child = os.fork()
        if child == 0:
            # Nothing of the tests may run on in the child, whatever happens.
            os._exit(0 if flight.run("a", lambda: 42) == 42 else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert flight.run("a", fork) == 0


def test_threads_run_the_same_coroutines_without_a_loop(flight: SingleFlight[int]) -> None:
    async def at_once() -> int:
        return 7

    assert run_sync(share_between_threads(flight, "a", at_once)) == 7
    assert asyncio.run(share_between_tasks(flight, "a", answer)) == 7
    with pytest.raises(RuntimeError, match=r"keystead_client\.auth"):
        run_sync(share_between_threads(flight, "a", answer))
    assert flight._flights == {}


@needs_fork
def test_a_process_that_is_forked_while_the_lock_is_held_finds_it_open(flight: SingleFlight[int]) -> None:
    with flight._lock:
        child = os.fork()
        if child == 0:
            # Ends the child if it hangs.
            signal.alarm(10)
            os._exit(0 if flight.run("a", lambda: 7) == 7 else 1)
    assert os.waitpid(child, 0)[1] == 0
