"""The scalars read and write strictly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from keystead.graphql.scalars import (
    read_date,
    read_date_time,
    read_filter_value,
    read_json,
    write_date,
    write_date_time,
)
from tests.graphql.fakes import ask, fixed

VERSION = fixed().version


@given(st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))
def test_an_instant_survives_the_way_out_and_in(instant: datetime) -> None:
    text = write_date_time(instant)
    assert len(text) == 27
    assert text.endswith("Z")
    assert read_date_time(text) == instant


@given(st.dates())
def test_a_day_survives_the_way_out_and_in(day: date) -> None:
    assert read_date(write_date(day)) == day


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2))
def test_texts_sort_as_instants_do(instants: list[datetime]) -> None:
    assert sorted(map(write_date_time, instants)) == [write_date_time(one) for one in sorted(instants)]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-01-01T00:00:00Z", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01t00:00:00z", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01 02:00+02:00", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01T00:00:00.123456789Z", datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_an_instant_comes_in_with_an_offset_and_goes_out_in_utc(text: str, instant: datetime) -> None:
    assert read_date_time(text) == instant
    eastern = instant.astimezone(timezone(timedelta(hours=2)))
    assert write_date_time(eastern) == f"{instant.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"


REFUSED: dict[Callable[[Any], Any], list[Any]] = {
    read_date_time: [
        "", "now", "2024-01-01", "2024-01-01T00:00:00", "20240101T000000Z", "2024-13-01T00:00:00Z",
        "2024-W01-1T00:00:00Z", "0001-01-01T00:00:00+14:00", "2024-01-01T00:00:00Z\n", "٢٠٢٤-01-01T00:00:00Z",
        0, None, True, ["2024"],
    ],
    read_date: ["", "2024-1-1", "2024-02-30", "20240101", "2024-01-01T00:00:00Z", 20240101, None],
    write_date_time: [datetime(2024, 1, 1), "2024-01-01T00:00:00Z", date(2024, 1, 1), 0],
    write_date: [datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01", 0],
    read_filter_value: [None, [], {}, [1], {"a": 1}, 2**63, float("nan"), float("inf"), object(), b"x"],
    read_json: [[float("-inf")], {"a": {"b": [2**64]}}, {"a": object()}],
}  # fmt: skip


@pytest.mark.parametrize("convert", REFUSED, ids=lambda convert: convert.__name__)
def test_a_value_of_another_type_is_refused(convert: Callable[[Any], Any]) -> None:
    for value in REFUSED[convert]:
        with pytest.raises(GraphQLError):
            convert(value)


@pytest.mark.parametrize("value", ["x", "", 1, 1.0, True, False, -(2**63), 2**63 - 1])
def test_a_filter_value_keeps_its_type(value: Any) -> None:
    assert read_filter_value(value) is value


@pytest.mark.parametrize(
    ("literal", "shown"),
    [
        ("any: 1", "('any', 1)"), ("any: 1.0", "('any', 1.0)"), ('any: "1"', "('any', '1')"),
        ("any: true", "('any', True)"), ('json: {a: [1, 2.5, null, "x"]}', "('json', {'a': [1, 2.5, None, 'x']})"),
        ('day: "2024-02-29"', "('day', datetime.date(2024, 2, 29))"),
    ],
)  # fmt: skip
async def test_a_literal_reads_as_a_variable_does(literal: str, shown: str) -> None:
    status, body = await ask(VERSION, f"{{ echo({literal}) {{ text }} }}")
    assert status == 200, body
    assert shown in body["data"]["echo"]["text"]


@pytest.mark.parametrize(
    "literal", ["any: [1]", "any: {a: 1}", "any: x", "json: {a: x}", "int: 2147483648", "int: 1.0"]
)
async def test_a_literal_that_does_not_fit_is_invalid(literal: str) -> None:
    status, _ = await ask(VERSION, f"{{ echo({literal}) {{ text }} }}")
    assert status == 400
