"""Stamps of last use: bounded in memory, written in slices, kept where the database is away."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keystead.db.interface import Tx
from keystead.db.last_uses import AHEAD, NOTED_AFTER, WRITE_SECONDS, LastUses
from keystead.db.slices import SliceSize
from keystead.errors import ServiceUnavailable
from keystead.sessions.model import LAST_USE_PRECISION

FIRST_SLICE = SliceSize().rows
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)
BRAND = "b"


class _Transactions:
    """In place of a database: counts, and fails from one transaction on."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.begun = 0

    @asynccontextmanager
    async def transaction(self) -> Any:
        self.begun += 1
        if self.begun == self.fails_at:
            raise ServiceUnavailable
        yield self


def test_timestamps_lag_at_most_a_minute() -> None:
    assert NOTED_AFTER + timedelta(seconds=WRITE_SECONDS) <= timedelta(seconds=LAST_USE_PRECISION)


async def test_the_latest_use_of_each_row_is_written_in_order_and_in_slices() -> None:
    uses, database = LastUses(), _Transactions()
    written: list[tuple[str, datetime]] = []

    async def touch(tx: Tx, brand_id: str, row_id: str, at: datetime, latest: datetime) -> None:
        written.append((row_id, at))

    rows = [f"{number:03}" for number in range(FIRST_SLICE + 1)]
    for row in reversed(rows):
        uses.note(BRAND, row, None, NOON)
        uses.note(BRAND, row, None, NOON + timedelta(seconds=1))
    uses.note(BRAND, "recent", NOON, NOON + NOTED_AFTER - timedelta(seconds=1))
    await uses.write(database, touch, LATER)  # type: ignore[arg-type]
    assert written == [(row, NOON + timedelta(seconds=1)) for row in rows]
    assert (database.begun, len(uses)) == (2, 0)
    await uses.write(database, touch, LATER)  # type: ignore[arg-type]
    assert database.begun == 2, "nothing to write begins no transaction"


async def test_failed_writes_are_kept_unless_a_later_use_is_noted() -> None:
    uses, database = LastUses(), _Transactions(fails_at=2)
    written: dict[str, datetime] = {}

    async def touch(tx: Tx, brand_id: str, row_id: str, at: datetime, latest: datetime) -> None:
        written[row_id] = at
        uses.note(BRAND, "099", None, NOON + timedelta(hours=1))

    for number in range(100):
        uses.note(BRAND, f"{number:03}", None, NOON)
    with pytest.raises(ServiceUnavailable):
        await uses.write(database, touch, LATER)  # type: ignore[arg-type]
    assert (len(written), len(uses)) == (FIRST_SLICE, 100 - FIRST_SLICE)
    await uses.write(database, touch, LATER)  # type: ignore[arg-type]
    assert written["098"] == NOON
    assert written["099"] == NOON + timedelta(hours=1)


def test_memory_is_bounded() -> None:
    uses = LastUses(most=3)
    for row in "abcda":
        uses.note(BRAND, row, None, NOON)
    assert [row for _, row in uses._uses] == ["c", "d", "a"]


async def test_timestamps_in_the_future_are_corrected() -> None:
    """On record and in memory; what is ahead by less than a stamp may be behind is left as it is."""
    uses, database = LastUses(), _Transactions()
    written: dict[str, tuple[datetime, datetime]] = {}

    async def touch(tx: Tx, brand_id: str, row_id: str, at: datetime, latest: datetime) -> None:
        written[row_id] = at, latest

    uses.note(BRAND, "slightly ahead", NOON + NOTED_AFTER - timedelta(seconds=1), NOON)
    uses.note(BRAND, "far ahead", NOON + timedelta(days=1), NOON)
    uses.note(BRAND, "noted before the clock went back", None, NOON + timedelta(days=1))
    await uses.write(database, touch, NOON)  # type: ignore[arg-type]
    assert written == dict.fromkeys(("far ahead", "noted before the clock went back"), (NOON, NOON + AHEAD))
