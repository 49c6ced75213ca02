"""Flights whose outcome is remembered: by whom they are shared, for how long, and what a failure leaves behind."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from keystead_client._single_flight import SingleFlight


class Runway:
    """Starts flights, and counts them."""

    def __init__(self, capacity: int = 4096, freshness: float | None = None) -> None:
        self.now = 100.0
        self.started = 0
        self.may_land = asyncio.Event()
        self.may_land.set()
        self.flights: SingleFlight[int] = SingleFlight(10, lambda: self.now, capacity, freshness=freshness)

    async def fly(self) -> int:
        self.started += 1
        number = self.started
        await self.may_land.wait()
        return number

    async def crash(self) -> int:
        self.started += 1
        await self.may_land.wait()
        raise LookupError("lost")

    async def join(self, key: str = "a") -> int:
        return await self.flights.run_async(key, self.fly)


async def test_an_outcome_is_shared_and_then_forgotten() -> None:
    runway = Runway()
    assert await asyncio.gather(*(runway.join() for _ in range(50))) == [1] * 50
    runway.now += 9.9
    assert await runway.join() == 1
    assert await runway.join("b") == 2
    runway.now += 0.1
    assert await runway.join() == 3
    runway.flights.forget("a")
    assert await runway.join() == 4


async def test_a_failure_is_shared_by_those_who_wait_and_by_nobody_else() -> None:
    runway = Runway()
    failed = await asyncio.gather(
        *(runway.flights.run_async("a", runway.crash) for _ in range(5)), return_exceptions=True
    )
    assert [type(error) for error in failed] == [LookupError] * 5
    assert runway.started == 1
    assert await runway.join() == 2


def test_threads_remember_too() -> None:
    now = 100.0
    flights: SingleFlight[int] = SingleFlight(10, lambda: now)
    assert [flights.run("a", lambda number=number: number) for number in (1, 2)] == [1, 1]  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        flights.run("b", lambda: 1 // 0)
    assert flights.run("b", lambda: 3) == 3
    now += 10
    assert flights.run("a", lambda: 4) == 4
    now -= 60
    assert flights.run("a", lambda: 5) == 5, "a clock that was turned back keeps nothing"


async def test_what_is_forgotten_in_the_air_lands_for_those_who_wait_alone() -> None:
    """A logout forgets: nobody who comes later is given what was asked before it."""
    runway = Runway()
    runway.may_land.clear()
    waiting = asyncio.create_task(runway.join())
    await asyncio.sleep(0)
    runway.flights.forget("a")
    runway.may_land.set()
    assert await waiting == 1
    assert await runway.join() == 2


async def test_no_key_is_kept_in_clear() -> None:
    runway = Runway()
    await runway.join("a-token")
    assert b"a-token" not in next(iter(runway.flights._flights))


@pytest.mark.parametrize("outcome", ["fly", "crash"])
async def test_a_flight_lands_for_the_others_when_the_first_gives_up(outcome: str) -> None:
    runway = Runway()
    runway.may_land.clear()
    first = asyncio.create_task(runway.flights.run_async("a", getattr(runway, outcome)))
    await asyncio.sleep(0)
    second = asyncio.create_task(runway.join())
    await asyncio.sleep(0)
    first.cancel()
    runway.may_land.set()
    done = (await asyncio.gather(first, second, return_exceptions=True))[1]
    assert done == 1 if outcome == "fly" else isinstance(done, LookupError)
    assert runway.started == 1


async def test_old_outcomes_leave_the_memory() -> None:
    """They are tokens: what nobody may use any more is not kept."""
    runway = Runway()
    for key in "abc":
        await runway.join(key)
    runway.now += 10
    await runway.join("d")
    assert len(runway.flights._flights) == 1


async def test_the_memory_is_bounded() -> None:
    runway = Runway(capacity=3)
    for key in "abcdef":
        await runway.join(key)
    assert len(runway.flights._flights) == 3
    assert await runway.join("f") == 6
    assert await runway.join("a") == 7


async def test_an_outcome_is_as_old_as_its_work() -> None:
    """An answer that comes late speaks of the moment at which it was asked for."""
    runway = Runway(freshness=1.0)
    runway.may_land.clear()
    first = asyncio.create_task(runway.join())
    await asyncio.sleep(0)
    runway.now += 0.75
    boards = asyncio.create_task(runway.join())
    await asyncio.sleep(0)
    runway.now += 0.25
    late = asyncio.create_task(runway.join())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert runway.started == 2
    runway.may_land.set()
    assert [await first, await boards, await late] == [1, 1, 2]
    runway.now += 0.75
    assert await runway.join() == 2
    runway.now += 0.25
    assert await runway.join() == 3


def test_threads_board_nothing_old_either() -> None:
    now = 100.0
    flights: SingleFlight[int] = SingleFlight(10, lambda: now, freshness=1.0)

    def slow() -> int:
        nonlocal now
        now += 1
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(flights.run, "a", lambda: 2, 10).result(10) == 2
        return 1

    assert flights.run("a", slow) == 1
    assert flights.run("a", lambda: 3) == 2, "the younger one is remembered"
    now += 1
    assert flights.run("a", lambda: 4) == 4


async def test_a_clock_that_is_turned_back_lets_nobody_refresh_beside_another() -> None:
    runway = Runway()
    runway.may_land.clear()
    both = [asyncio.create_task(runway.join())]
    await asyncio.sleep(0)
    runway.now -= 60
    both.append(asyncio.create_task(runway.join()))
    await asyncio.sleep(0)
    runway.may_land.set()
    assert await asyncio.gather(*both) == [1, 1]
