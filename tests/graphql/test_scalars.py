"""The scalars read and write strictly."""

from __future__ import annotations

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


def test_an_instant_goes_out_in_utc() -> None:
    eastern = timezone(timedelta(hours=2))
    assert write_date_time(datetime(2024, 1, 1, 1, 0, tzinfo=eastern)) == "2023-12-31T23:00:00.000000Z"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-01-01T00:00:00Z", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01t00:00:00z", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01 02:00+02:00", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01T00:00:00.123456789Z", datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_an_instant_comes_in_with_an_offset(text: str, instant: datetime) -> None:
    assert read_date_time(text) == instant


@pytest.mark.parametrize(
    "value",
    [
        *["", "now", "2024-01-01", "2024-01-01T00:00:00", "20240101T000000Z", "2024-13-01T00:00:00Z"],
        *["2024-W01-1T00:00:00Z", "0001-01-01T00:00:00+14:00", "2024-01-01T00:00:00Z\n", "٢٠٢٤-01-01T00:00:00Z"],
        *[0, None, True, ["2024"]],
    ],
)
def test_what_names_no_instant_is_refused(value: Any) -> None:
    with pytest.raises(GraphQLError):
        read_date_time(value)


@pytest.mark.parametrize("value", ["", "2024-1-1", "2024-02-30", "20240101", "2024-01-01T00:00:00Z", 20240101, None])
def test_what_names_no_day_is_refused(value: Any) -> None:
    with pytest.raises(GraphQLError):
        read_date(value)


@pytest.mark.parametrize("value", [datetime(2024, 1, 1), "2024-01-01T00:00:00Z", date(2024, 1, 1), 0])
def test_only_an_aware_datetime_is_written(value: Any) -> None:
    with pytest.raises(GraphQLError):
        write_date_time(value)


@pytest.mark.parametrize("value", [datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01", 0])
def test_only_a_date_is_written(value: Any) -> None:
    with pytest.raises(GraphQLError):
        write_date(value)


@pytest.mark.parametrize("value", ["x", "", 1, 1.0, True, False, -(2**63), 2**63 - 1])
def test_a_filter_value_keeps_its_type(value: Any) -> None:
    assert read_filter_value(value) is value


@pytest.mark.parametrize("value", [None, [], {}, [1], {"a": 1}, 2**63, float("nan"), float("inf"), object(), b"x"])
def test_a_filter_value_is_a_scalar(value: Any) -> None:
    with pytest.raises(GraphQLError):
        read_filter_value(value)


@pytest.mark.parametrize("value", [[float("-inf")], {"a": {"b": [2**64]}}, {"a": object()}])
def test_json_is_json(value: Any) -> None:
    with pytest.raises(GraphQLError):
        read_json(value)


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
