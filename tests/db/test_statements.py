"""Statements: parameters, constants, lists, upserts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import bindparam, func, select, update

from keystead.db.interface import Database
from keystead.db.statements import Statement, any_of, insert
from tests.db.things import BRAND, FIND, INSERT, NAMES, add, names, things

_OF_BRAND = things.c.brand_id == bindparam("brand_id")
AMONG = Statement(select(things.c.id).where(_OF_BRAND, any_of(things.c.id, "ids")).order_by(things.c.id))
AMONG_NUMBERS = Statement(select(things.c.id).where(any_of(things.c.number, "numbers"), _OF_BRAND))
AMONG_TIMES = Statement(select(things.c.id).where(any_of(things.c.at, "times"), _OF_BRAND))
NOT_AMONG = Statement(select(things.c.id).where(~any_of(things.c.id, "ids"), _OF_BRAND))
CLOSE = Statement(update(things).where(_OF_BRAND, any_of(things.c.id, "ids")).values(is_open=False))
UPSERT = Statement(
    insert(things)
    .values(id=bindparam("id"), brand_id=bindparam("brand_id"), name=bindparam("name"), number=1)
    .on_conflict_do_update(index_elements=[things.c.brand_id, things.c.name], set_={"number": things.c.number + 1})
    .returning(things.c.number)
)
KEEP = Statement(
    insert(things)
    .values(id=bindparam("id"), brand_id=bindparam("brand_id"), name=bindparam("name"))
    .on_conflict_do_nothing()
    .returning(things.c.id)
)


async def test_any_of_takes_one_list_of_any_length(stocked: Database) -> None:
    async with stocked.transaction() as tx:
        for key in ("a", "b", "c"):
            await add(tx, key)

    assert await stocked.reads.list(AMONG, ids=["c", "a", "absent"], brand_id=BRAND) == [("a",), ("c",)]
    assert await stocked.scans.list(AMONG, ids=(), brand_id=BRAND) == []
    assert len(await stocked.reads.list(AMONG, ids=[f"{n}" for n in range(5000)] + ["b"], brand_id=BRAND)) == 1
    assert await stocked.reads.list(NOT_AMONG, ids=["a", "b"], brand_id=BRAND) == [("c",)]


async def test_any_of_converts_each_item(stocked: Database) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    row = {column.name: None for column in things.c} | {"id": "a", "brand_id": BRAND, "at": at, "number": 7}
    async with stocked.transaction() as tx:
        await tx.execute(INSERT, **row)

    assert await stocked.reads.list(AMONG_TIMES, times=[at], brand_id=BRAND) == [("a",)]
    assert await stocked.reads.list(AMONG_NUMBERS, numbers=[7, 2**40], brand_id=BRAND) == [("a",)]


def test_any_of_uses_an_index_on_sqlite() -> None:
    text = AMONG.compiled("sqlite").text

    assert "IN (SELECT value FROM json_each(?))" in text
    assert "= 1" not in text


async def test_one_upsert_for_both_databases(stocked: Database) -> None:
    async with stocked.transaction() as tx:
        assert await tx.find(UPSERT, id="a", brand_id=BRAND, name="x") == (1,)
        assert await tx.find(UPSERT, id="b", brand_id=BRAND, name="x") == (2,)
        assert await tx.find(KEEP, id="c", brand_id=BRAND, name="x") is None
        assert await tx.find(KEEP, id="c", brand_id=BRAND, name="y") == ("c",)


async def test_rows_are_tuples_or_none(stocked: Database) -> None:
    async with stocked.transaction() as tx:
        await add(tx)
        inside = await tx.find(NAMES, brand_id=BRAND)
        assert type(inside) is tuple

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
def test_parameters_are_exactly_those_of_the_statement(dialect: str, params: dict[str, str]) -> None:
    compiled = FIND.compiled("sqlite" if dialect == "sqlite" else "postgresql")

    with pytest.raises(TypeError, match="parameters missing"):
        compiled.bind(params)


def test_a_statement_is_compiled_once_per_dialect() -> None:
    assert FIND.compiled("sqlite") is FIND.compiled("sqlite")
    assert FIND.compiled("postgresql") is FIND.compiled("postgresql")
    assert FIND.compiled("sqlite").text != FIND.compiled("postgresql").text


def test_parameters_are_not_truncated_on_postgresql() -> None:
    """``$1::VARCHAR(36)`` would cut a longer text down to a match."""
    assert "VARCHAR(" not in FIND.compiled("postgresql").text


async def test_aggregates_are_numbers(stocked: Database) -> None:
    count = Statement(select(func.count(), func.max(things.c.at)).where(_OF_BRAND))

    assert await stocked.scans.find(count, brand_id=BRAND) == (0, None)
