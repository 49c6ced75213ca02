"""The database's clock, measured: what a process knows of it, and when it relies on that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from keystead.clock import SystemClock
from keystead.db.clock import GOOD_FOR_SECONDS, DatabaseClock, time_in
from keystead.db.interface import Database
from keystead.errors import ServiceUnavailable

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOLERANCE = timedelta(milliseconds=2)


@dataclass
class World:
    """A machine and a database, each with its own clock, and a network between them."""

    passed: float = 1000.0
    wall: datetime = NOON
    theirs: datetime = NOON + timedelta(days=40)
    there: float = 0.0
    back: float = 0.0
    is_away: bool = False

    def pass_(self, seconds: float) -> None:
        """Time passes everywhere alike."""
        self.passed += seconds
        self.wall += timedelta(seconds=seconds)
        self.theirs += timedelta(seconds=seconds)

    def elapsed(self) -> float:
        """The machine's other clock."""
        return self.passed

    async def now(self) -> datetime:
        """What the database answers, after ``there`` and before ``back``."""
        if self.is_away:
            raise ServiceUnavailable
        self.pass_(self.there)
        answer = self.theirs
        self.pass_(self.back)
        return answer

    def clock(self) -> DatabaseClock:
        """The clock of a process on this machine."""
        return DatabaseClock(_Wall(self), self.elapsed)

    async def measure(self, clock: DatabaseClock) -> timedelta:
        return await clock.measure(cast(Any, self))

    async def measured(self) -> DatabaseClock:
        """The same, after its first measurement."""
        clock = self.clock()
        await self.measure(clock)
        return clock


class _Wall:
    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        return self._world.wall


@pytest.mark.parametrize("days", [-400, 0, 40])
async def test_the_clock_follows_the_database(days: int) -> None:
    world = World(theirs=NOON + timedelta(days=days))
    clock = world.clock()
    assert clock.now() == world.wall
    assert not clock.is_measured
    assert abs(await world.measure(clock) - timedelta(days=days)) <= TOLERANCE
    assert abs(clock.now() - world.theirs) <= TOLERANCE
    assert clock.is_measured


async def test_setting_the_wall_clock_has_no_effect() -> None:
    clock = await (world := World()).measured()
    before = clock.now()
    world.wall += timedelta(days=400)
    assert clock.now() == before
    world.pass_(10)
    assert clock.now() == before + timedelta(seconds=10)


async def test_the_first_error_is_at_most_half_the_latency() -> None:
    world = World(there=0.4)
    clock = await world.measured()
    assert abs(clock.now() - world.theirs) <= timedelta(seconds=0.2) + TOLERANCE
    world.there = 0.0
    await world.measure(clock)
    assert abs(clock.now() - world.theirs) <= TOLERANCE


async def test_a_change_of_the_databases_clock_is_followed() -> None:
    clock = await (world := World()).measured()
    for hours in (3, -5):
        world.theirs += timedelta(hours=hours)
        await world.measure(clock)
        assert abs(clock.now() - world.theirs) <= TOLERANCE


async def test_truncated_milliseconds_cause_no_jitter() -> None:
    clock = await (world := World()).measured()
    offset = clock._offset
    for _ in range(50):
        world.pass_(0.0301)
        exact, world.theirs = world.theirs, world.theirs.replace(microsecond=world.theirs.microsecond // 1000 * 1000)
        await world.measure(clock)
        world.theirs = exact
    assert abs(clock._offset - offset) <= 0.001


async def test_a_measurement_expires() -> None:
    clock = await (world := World()).measured()
    world.is_away = True
    world.pass_(GOOD_FOR_SECONDS - 1)
    with pytest.raises(ServiceUnavailable):
        await world.measure(clock)
    assert clock.is_measured
    assert abs(clock.now() - world.theirs) <= TOLERANCE
    world.pass_(1)
    assert not clock.is_measured


async def test_time_in_a_transaction(db: Database) -> None:
    clock = DatabaseClock()
    await clock.measure(db)
    async with db.transaction() as tx:
        before = await db.now()
        now = await time_in(tx, clock)
    assert before <= now <= await db.now()
    assert abs(now - SystemClock().now()) < timedelta(minutes=1), "the same machine's"
