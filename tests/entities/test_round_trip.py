"""A value that is written is read again, the same on both databases, and in the same order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keystead.context import Context
from keystead.db.factory import open_database
from keystead.entities import record_service
from keystead.entities.registry import RecordType, get_record_type
from tests.clocks import ManualClock
from tests.databases import PostgresTemplate, SqliteTemplate
from tests.make import make_brand, make_context, make_entity, make_server

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": text,
    "text": text,
    "integer": st.integers(-(2**31), 2**31 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0),
    "decimal": st.from_regex(r"\A(0|-?[1-9][0-9]{0,19})(\.[0-9]{1,18})?\Z"),
    "boolean": st.booleans(),
    "date": st.dates(),
    "datetime": st.datetimes(timezones=st.just(UTC)).filter(
        lambda at: at.replace(tzinfo=None) not in (datetime.min, datetime.max)
    ),
    "email": st.sampled_from(["ann@example.com", "Ann.Smith+x@Example.org", "jürgen@münchen.example"]),
    "url": st.sampled_from(["https://example.com/", "http://[::1]/ä?x=%00#y"]),
    "enum": st.sampled_from(["active", "paused"]),
    "json": json_values,
    "uuid": st.uuids().map(str),
}
FIELDS = {f"a_{name}": {"type": name} | ({"values": ["active", "paused"]} if name == "enum" else {}) for name in VALUES}
records = st.fixed_dictionaries({}, optional={f"a_{name}": st.none() | values for name, values in VALUES.items()})

Place = tuple[Context, RecordType]


@pytest.fixture
async def places(
    sqlite_template: SqliteTemplate, postgres_template: PostgresTemplate, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[list[Place]]:
    url = postgres_template.copy()
    opened, made = [], []
    for one in (sqlite_template.copy(tmp_path), url):
        database = open_database(one)
        await database.open()
        opened.append(database)
        server = await make_server(database, clock)
        brand = await make_entity(server, await make_brand(server), "thing", FIELDS)
        made.append((make_context(server, brand), await get_record_type(database, brand, "thing")))
    yield made
    for database in opened:
        await database.close()
    postgres_template.drop(url)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=records)
async def test_what_is_written_is_read_on_both(places: list[Place], values: dict[str, Any]) -> None:
    names = frozenset(FIELDS)
    expected = {name: values.get(name) for name in names}
    for ctx, kind in places:
        made = await record_service.create_record(ctx, kind, values, names | {"id"})
        record_id = made.pop("id")
        assert made == expected
        assert await record_service.find_record(ctx, kind, record_id, names) == expected
        assert await record_service.update_record(ctx, kind, record_id, values, names) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a_date", date.max), ("a_date", date.min), ("a_datetime", datetime.max.replace(microsecond=0, tzinfo=UTC)),
        ("a_datetime", datetime.min.replace(microsecond=1, tzinfo=UTC)), ("a_float", 5e-324),
        ("a_float", 1.7976931348623157e308), ("a_json", {"": [{}], "\u0000": "\u0000", "1": -0.0}), ("a_json", ""),
        ("a_json", 0), ("a_json", False),
    ],
)  # fmt: skip
async def test_the_ends_of_a_range_are_values_like_any_other(places: list[Place], name: str, value: Any) -> None:
    for ctx, kind in places:
        assert await record_service.create_record(ctx, kind, {name: value}, frozenset((name,))) == {name: value}
