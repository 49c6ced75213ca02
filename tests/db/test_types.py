"""Every column type comes back as it went in, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from keystead import errors
from keystead.db.interface import Database
from keystead.db.statements import sqlalchemy_dialect
from keystead.db.types import UtcTime
from tests.db.things import BRAND, FIND, INSERT, things

DELHI = timezone(timedelta(hours=5, minutes=30))
_EMPTY = {column.name: None for column in things.c} | {"id": "a", "brand_id": BRAND}


async def _stored(db: Database, column: str, value: Any) -> Any:
    async with db.transaction() as tx:
        assert await tx.execute(INSERT, **{**_EMPTY, column: value}) == 1
    row = await db.reads.find(FIND, id="a", brand_id=BRAND)
    assert row is not None
    return row[list(things.c.keys()).index(column)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", "Zoë ‖ 🌈 'quoted' %s :x ?"), ("name", ""), ("at", datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)),
        ("at", datetime(1999, 12, 31, tzinfo=UTC)), ("settings", {"a": [1, 2.5, None, True], "ü": "☃"}),
        ("settings", []), ("words", ("read", "customer:write:own")), ("words", ()), ("digest", bytes(range(256))),
        ("digest", b""), ("is_open", True), ("is_open", False), ("number", 2**62), ("number", -1), ("share", 0.1),
    ],
)  # fmt: skip
async def test_values_round_trip(stocked: Database, column: str, value: Any) -> None:
    stored = await _stored(stocked, column, value)
    assert stored == value
    assert type(stored) is type(value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (datetime.max.replace(tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC)),
        (datetime.min.replace(tzinfo=UTC), datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1, 12, tzinfo=DELHI), datetime(2026, 1, 1, 6, 30, tzinfo=UTC)),
    ],
)
async def test_times_are_converted_to_utc_and_clamped(stocked: Database, given: datetime, kept: datetime) -> None:
    stored = await _stored(stocked, "at", given)
    assert (stored, stored.utcoffset()) == (kept, timedelta(0))


@pytest.mark.parametrize(
    ("column", "value", "error"), [("at", datetime(2026, 1, 1), ValueError), ("name", "\ud800", errors.BadUserInput)]
)
async def test_naive_times_and_lone_surrogates_are_rejected(
    stocked: Database, column: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await _stored(stocked, column, value)


def test_text_order_is_time_order_on_sqlite() -> None:

    write = UtcTime().bind_processor(sqlalchemy_dialect("sqlite"))
    first = datetime(2026, 1, 1, tzinfo=UTC)
    texts = [write(first + timedelta(microseconds=step)) for step in (0, 1, 999_999, 1_000_000)]
    assert texts == sorted(texts)
    assert {len(text) for text in texts} == {27}
