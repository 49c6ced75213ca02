"""Long work holds the writer for a few milliseconds at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from keystead.db.interface import Database, Tx
from keystead.db.slices import LONGEST_SLICE, SliceSize, run_in_slices


@pytest.mark.parametrize("milliseconds_a_row", [0.01, 0.1, 1.0, 4.0])
def test_slices_grow_to_the_time_limit(milliseconds_a_row: float) -> None:
    size = SliceSize()
    for _ in range(20):
        size.note(size.rows * milliseconds_a_row / 1000)
    took = size.rows * milliseconds_a_row / 1000
    assert took <= LONGEST_SLICE
    assert took >= LONGEST_SLICE / 8 or size.rows == 500


def test_slow_rows_are_remembered() -> None:
    """Such as users with many tokens among users with none: no slice of slow rows is far too long."""
    size, longest = SliceSize(), 0.0
    for number in range(200):
        seconds = size.rows * (0.001 if number % 4 == 0 else 0.00001)
        longest = max(longest, seconds) if number > 10 else 0.0
        size.note(seconds)
    assert longest <= 1.25 * LONGEST_SLICE


async def test_the_commit_does_not_count() -> None:
    """On a disk whose COMMIT takes longer than a slice should; the rest after a slice counts it."""

    class SlowCommits:
        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[None]:
            yield
            work.now += 0.030

    work = Work(1000)
    await run(SlowCommits(), work)  # type: ignore[arg-type]
    assert max(work.slices) >= LONGEST_SLICE / 4
    assert work.rests == pytest.approx([seconds + 0.030 for seconds in work.slices[:-1]])


class Work:
    """Rows that are worked on, each of which takes a millisecond of a clock that stands still otherwise."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.now = 0.0
        self.slices: list[float] = []
        self.rests: list[float] = []

    async def step(self, tx: Tx, limit: int) -> int:
        found = min(limit, self.rows)
        self.rows -= found
        self.now += found / 1000
        self.slices.append(found / 1000)
        return found

    async def rest(self, seconds: float) -> None:
        self.now += seconds
        self.rests.append(seconds)


async def run(db: Database, work: Work, seconds: float = 100.0) -> int:
    return await run_in_slices(db, work.step, seconds=seconds, timer=lambda: work.now, rest=work.rest)


async def test_all_is_done_in_short_slices_and_the_writer_rests_as_long_as_it_was_held(db: Database) -> None:
    work = Work(1000)
    assert await run(db, work) == 1000
    assert max(work.slices) <= LONGEST_SLICE
    assert work.slices[-1] == 0
    assert work.rests == pytest.approx(work.slices[:-1])


async def test_other_writers_get_their_turn_between_slices(db: Database) -> None:
    order: list[str] = []

    async def step(tx: Tx, limit: int) -> int:
        order.append("slice")
        if len(order) == 1:
            waiting.append(asyncio.create_task(write()))
        await asyncio.sleep(0)
        return 0 if order.count("slice") == 3 else 1

    async def write() -> None:
        async with db.transaction():
            order.append("other")

    waiting: list[asyncio.Task[None]] = []
    await run_in_slices(db, step, seconds=60.0, rest=lambda _: asyncio.sleep(0))
    await waiting[0]
    if db.dialect == "sqlite":
        assert order == ["slice", "other", "slice", "slice"]
    assert sorted(order) == ["other", "slice", "slice", "slice"]
