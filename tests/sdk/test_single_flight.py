"""One at a time, across tasks and threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keystead_client._single_flight import SingleFlight
from keystead_client.errors import ServerError, Timeout


class Work:
    """Counts how often it was done; goes on when it is let."""

    def __init__(self) -> None:
        self.times = 0
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        """How often it has been done now."""
        self.times += 1
        times = self.times
        self.started.set()
        await self.may_end.wait()
        return times


async def test_tasks_share_one_flight() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    tasks = [asyncio.create_task(flight.run_async("a", work)) for _ in range(50)]
    await work.started.wait()
    work.may_end.set()
    assert await asyncio.gather(*tasks) == [1] * 50
    assert await flight.run_async("a", work) == 2


async def test_other_keys_fly_alone() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    work.may_end.set()
    assert sorted(await asyncio.gather(flight.run_async("a", work), flight.run_async("b", work))) == [1, 2]


async def test_an_error_is_everybodys() -> None:
    flight: SingleFlight[int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ServerError("no")

    outcomes = await asyncio.gather(*(flight.run_async("a", fail) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ServerError] * 3
    # Each has one of its own: one that is raised for many would carry the traceback of each.
    assert len({id(outcome) for outcome in outcomes}) == 3


async def test_a_cancelled_leader_takes_nothing_from_the_others() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    leader = asyncio.create_task(flight.run_async("a", work))
    await work.started.wait()
    others = [asyncio.create_task(flight.run_async("a", work)) for _ in range(3)]
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    work.may_end.set()
    assert await asyncio.gather(*others) == [1, 1, 1]
    assert await flight.run_async("a", work) == 2


async def test_work_ends_though_nobody_waits_any_more() -> None:
    """A refresh that was broken off would lose the tokens that the server has just issued."""
    flight: SingleFlight[int] = SingleFlight(10)
    work = Work()
    leader = asyncio.create_task(flight.run_async("a", work))
    await work.started.wait()
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
    work.may_end.set()
    await flight.finish()
    assert await flight.run_async("a", work) == 1


async def test_who_stops_waiting_takes_nothing_from_the_others() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    tasks = [asyncio.create_task(flight.run_async("a", work)) for _ in range(3)]
    await work.started.wait()
    await asyncio.sleep(0)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    work.may_end.set()
    assert [await tasks[0], await tasks[2]] == [1, 1]


async def test_a_stuck_leader_is_given_up() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    leader = asyncio.create_task(flight.run_async("a", work))
    await work.started.wait()
    with pytest.raises(Timeout):
        await flight.run_async("a", work, 0.0)
    assert await asyncio.to_thread(flight.run, "a", lambda: 7, 0.0) == 7, "the next one leads"
    work.may_end.set()
    assert await leader == 1


async def test_who_blocks_the_event_loop_does_not_wait_for_its_tasks() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    leader = asyncio.create_task(flight.run_async("a", work))
    await work.started.wait()
    assert flight.is_flying("a")
    assert flight.run("a", lambda: 7) == 7
    work.may_end.set()
    assert await leader == 1
    assert not flight.is_flying("a")


async def test_a_thread_that_waits_for_a_stuck_task_gives_it_up() -> None:
    flight: SingleFlight[int] = SingleFlight(10)
    work = Work()
    leader = asyncio.create_task(flight.run_async("a", work))
    await work.started.wait()
    with pytest.raises(Timeout):
        await asyncio.to_thread(flight.run, "a", lambda: 7, 0.0)
    assert flight.run("a", lambda: 7) == 7
    work.may_end.set()
    assert await leader == 1
    assert flight.run("a", lambda: 8) == 7, "what was given up is not remembered"


def test_threads_share_one_flight() -> None:
    flight: SingleFlight[int] = SingleFlight()
    together = threading.Barrier(8)
    flying = threading.Lock()
    done: list[int] = []

    def work() -> int:
        assert flying.acquire(blocking=False), "two at a time"
        done.append(1)
        flying.release()
        return len(done)

    def ask() -> int:
        together.wait()
        return flight.run("a", work)

    with ThreadPoolExecutor(8) as pool:
        numbers = [future.result() for future in [pool.submit(ask) for _ in range(8)]]
    # Who came after a landing flew again; nobody flew beside another, and nobody was given what was not done.
    assert set(numbers) == set(range(1, len(done) + 1))


async def test_a_thread_waits_for_a_task() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    leader = asyncio.create_task(flight.run_async("a", work))
    await work.started.wait()
    joined = threading.Event()
    future = next(iter(flight._flights.values())).future
    wait = future.result

    def result(timeout: float | None = None) -> int:
        joined.set()
        return wait(timeout)

    future.result = result  # type: ignore[method-assign]
    thread = asyncio.create_task(asyncio.to_thread(flight.run, "a", lambda: 7))
    await asyncio.to_thread(joined.wait)
    work.may_end.set()
    assert await leader == 1
    assert await thread == 1
