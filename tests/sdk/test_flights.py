"""Flights that are shared: by whom, for how long, and what a failure leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from keystead_client.flights import Flights


class Runway:
    """Starts flights, and counts them."""

    def __init__(self, capacity: int = 4096) -> None:
        self.now = 100.0
        self.started = 0
        self.may_land = asyncio.Event()
        self.may_land.set()
        self.flights: Flights[int] = Flights(10, lambda: self.now, capacity)

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
        return await self.flights.join(key, self.fly)


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
    failed = await asyncio.gather(*(runway.flights.join("a", runway.crash) for _ in range(5)), return_exceptions=True)
    assert [type(error) for error in failed] == [LookupError] * 5
    assert runway.started == 1
    assert await runway.join() == 2


@pytest.mark.parametrize("outcome", ["fly", "crash"])
async def test_a_flight_lands_for_the_others_when_the_first_gives_up(outcome: str) -> None:
    runway = Runway()
    runway.may_land.clear()
    first = asyncio.create_task(runway.flights.join("a", getattr(runway, outcome)))
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
