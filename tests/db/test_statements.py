"""Statements: parameters, constants, lists, upserts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import bindparam, func, select

from keystead.db.interface import Database
from keystead.db.statements import Statement, any_of, insert
from tests.db.things import BRAND, FIND, INSERT, NAMES, add, names, things

_OF_BRAND = things.c.brand_id == bindparam("brand_id")
AMONG = Statement(select(things.c.id).where(_OF_BRAND, any_of(things.c.id, "ids")).order_by(things.c.id))
AMONG_NUMBERS = Statement(select(things.c.id).where(any_of(things.c.number, "numbers"), _OF_BRAND))
AMONG_TIMES = Statement(select(things.c.id).where(any_of(things.c.at, "times"), _OF_BRAND))
NOT_AMONG = Statement(select(things.c.id).where(~any_of(things.c.id, "ids"), _OF_BRAND))
COUNT = Statement(select(func.count(), func.max(things.c.at)).where(_OF_BRAND))
_NEW = insert(things).values(id=bindparam("id"), brand_id=bindparam("brand_id"), name=bindparam("name"))
UPSERT = Statement(
    _NEW.values(number=1)
    .on_conflict_do_update(index_elements=[things.c.brand_id, things.c.name], set_={"number": things.c.number + 1})
    .returning(things.c.number)
)
KEEP = Statement(_NEW.on_conflict_do_nothing().returning(things.c.id))


async def test_any_of_takes_one_list_of_any_length_and_converts_each_item(stocked: Database) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    row = {column.name: None for column in things.c} | {"brand_id": BRAND, "at": at, "number": 7}
    async with stocked.transaction() as tx:
        await tx.execute(INSERT, **{**row, "id": "a"})
        for key in ("b", "c"):
            await add(tx, key)
    assert await stocked.reads.list(AMONG, ids=["c", "a", "absent"], brand_id=BRAND) == [("a",), ("c",)]
    assert await stocked.scans.list(AMONG, ids=(), brand_id=BRAND) == []
    assert len(await stocked.reads.list(AMONG, ids=[f"{n}" for n in range(5000)] + ["b"], brand_id=BRAND)) == 1
    assert await stocked.reads.list(NOT_AMONG, ids=["a", "b"], brand_id=BRAND) == [("c",)]
    assert await stocked.reads.list(AMONG_TIMES, times=[at], brand_id=BRAND) == [("a",)]
    assert await stocked.reads.list(AMONG_NUMBERS, numbers=[7, 2**40], brand_id=BRAND) == [("a",)]


async def test_one_upsert_for_both_databases(stocked: Database) -> None:
    async with stocked.transaction() as tx:
        assert await tx.find(UPSERT, id="a", brand_id=BRAND, name="x") == (1,)
        assert await tx.find(UPSERT, id="b", brand_id=BRAND, name="x") == (2,)
        assert await tx.find(KEEP, id="c", brand_id=BRAND, name="x") is None
        assert await tx.find(KEEP, id="c", brand_id=BRAND, name="y") == ("c",)


async def test_rows_are_tuples_or_none(stocked: Database) -> None:
    assert await stocked.scans.find(COUNT, brand_id=BRAND) == (0, None)
    async with stocked.transaction() as tx:
        await add(tx)
        assert type(await tx.find(NAMES, brand_id=BRAND)) is tuple
    for reader in (stocked.reads, stocked.scans):
        assert type(await reader.find(NAMES, brand_id=BRAND)) is tuple
        assert await reader.find(NAMES, brand_id="another") is None
        assert await reader.list(NAMES, brand_id=BRAND) == [("thing a",)]


async def test_text_sorts_by_its_bytes(stocked: Database) -> None:
    async with stocked.transaction() as tx:
        for name in ("ä", "b", "Z", "a", "_", "B"):
            await add(tx, name, name)
    assert await names(stocked.reads) == ["B", "Z", "_", "a", "b", "ä"]


@pytest.mark.parametrize("params", [{}, {"id": "a"}, {"id": "a", "brand_id": "b", "name": "c"}, {"id": 1, "x": 2}])
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_parameters_are_exactly_those_of_the_statement(dialect: Any, params: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="parameters missing"):
        FIND.compiled(dialect).bind(params)


def test_compiled_text() -> None:
    """Made once per dialect. ``$1::VARCHAR(36)`` would cut a longer text down to a match."""
    assert FIND.compiled("sqlite") is FIND.compiled("sqlite")
    assert FIND.compiled("sqlite").text != FIND.compiled("postgresql").text
    assert "VARCHAR(" not in FIND.compiled("postgresql").text
    assert "IN (SELECT value FROM json_each(?))" in AMONG.compiled("sqlite").text
    assert "= 1" not in AMONG.compiled("sqlite").text, "which would keep it from using an index"
