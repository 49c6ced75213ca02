"""What both engines promise: transactions, errors, cancellation."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Column, MetaData, Table, select
from sqlalchemy.schema import CreateTable

from keystead import errors
from keystead.db import types
from keystead.db.factory import open_database
from keystead.db.interface import Contention, Database, ForeignKeyViolation, SchemaChanged, Tx, UniqueViolation
from keystead.db.statements import Statement
from tests.db.things import ADD, ADD_PART, BRAND, COUNT_UP, NUMBER, SET_NUMBER, add, names


async def test_a_block_commits_or_rolls_back_and_propagates(stocked: Database) -> None:
    with pytest.raises(KeyError):
        async with stocked.transaction() as tx:
            await add(tx, "lost")
            raise KeyError("mine")
    async with stocked.transaction() as tx:
        await add(tx)
        assert await names(stocked.reads) == [], "not visible before COMMIT"
    assert await names(stocked.reads) == ["thing a"]


async def test_a_unique_violation_names_table_and_columns(stocked: Database) -> None:
    with pytest.raises(UniqueViolation) as broken:
        async with stocked.transaction() as tx:
            await add(tx, "a", "taken@example.org")
            await add(tx, "b", "taken@example.org")
    assert broken.value.table == "things"
    assert broken.value.columns == ("brand_id", "name")
    assert "taken@" not in f"{broken.value!r} {broken.value.cause} {broken.value.__cause__}"
    assert await names(stocked.reads) == []


async def test_a_foreign_key_violation(stocked: Database) -> None:
    with pytest.raises(ForeignKeyViolation):
        async with stocked.transaction() as tx:
            await tx.execute(ADD_PART, id="p", brand_id=BRAND, thing_id="nothing")


@pytest.mark.parametrize(("key", "brand"), [("hush", None), ({"hush": "hush"}, BRAND)])
async def test_other_constraint_violations_and_wrong_types_do_not_reveal_the_value(
    stocked: Database, key: object, brand: str | None
) -> None:
    with pytest.raises(errors.InternalError) as broken:
        async with stocked.transaction() as tx:
            await tx.execute(ADD, id=key, brand_id=brand, name="hush")
    assert "hush" not in f"{broken.value} {broken.value.cause}"


async def test_a_failed_statement_invalidates_the_transaction(stocked: Database) -> None:
    with pytest.raises(errors.InternalError, match="our side"):
        async with stocked.transaction() as tx:
            await add(tx, "a", "x")
            with pytest.raises(UniqueViolation):
                await add(tx, "b", "x")
            with pytest.raises(errors.InternalError):
                await add(tx, "c", "y")
    assert await names(stocked.reads) == []


async def test_reads_do_not_write(stocked: Database) -> None:
    for reader in (stocked.reads, stocked.scans):
        for write in (
            reader.execute(SET_NUMBER, number=1, brand_id=BRAND),
            reader.find(COUNT_UP, id="a", brand_id=BRAND),
            reader.list(COUNT_UP, id="a", brand_id=BRAND),
            reader.execute_ddl("DROP TABLE things"),
        ):
            with pytest.raises(TypeError):
                await write


async def test_concurrent_transactions_lose_no_update(stocked: Database) -> None:
    async with stocked.transaction() as tx:
        await add(tx)

    async def count_up() -> None:
        async with stocked.transaction() as tx:
            await tx.find(COUNT_UP, id="a", brand_id=BRAND)

    await asyncio.gather(*(count_up() for _ in range(40)))
    assert await stocked.reads.find(NUMBER, id="a", brand_id=BRAND) == (40,)


async def test_two_processes_see_each_others_changes(stocked: Database, database_url: str) -> None:
    other = open_database(database_url)
    await other.open()
    try:
        async with stocked.transaction() as tx:
            await add(tx)
        assert await names(other.reads) == ["thing a"]
        async with other.transaction() as tx:
            await tx.execute(SET_NUMBER, number=9, brand_id=BRAND)
        assert await stocked.reads.find(NUMBER, id="a", brand_id=BRAND) == (9,)
    finally:
        await other.close()


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_request_leaves_no_open_transaction(stocked: Database, steps: int) -> None:
    """Cancelled after a growing number of turns of the loop: before, in and after each statement."""
    done = False

    async def request() -> None:
        nonlocal done
        async with stocked.transaction() as tx:
            await add(tx, "a", "x")
            await tx.find(COUNT_UP, id="a", brand_id=BRAND)
        done = True

    task = asyncio.create_task(request())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled() != done
    async with stocked.transaction() as tx:
        found = await names(tx)
        await add(tx, "b")
    assert await names(stocked.reads) == sorted([*found, "thing b"])


@pytest.mark.parametrize(
    ("error", "failures", "runs"), [(Contention, 2, 3), (Contention, 3, 3), (errors.Conflict, 1, 1)]
)
async def test_run_retries_contention_up_to_three_times_and_no_other_error(
    stocked: Database, error: type[errors.KeysteadError], failures: int, runs: int
) -> None:
    seen = 0

    async def work(tx: Tx) -> None:
        nonlocal seen
        seen += 1
        await add(tx)
        if seen <= failures:
            raise error

    outcome = await asyncio.gather(stocked.run(work), return_exceptions=True)
    assert seen == runs
    assert isinstance(outcome[0], error) == (failures == runs)
    assert await names(stocked.reads) == ([] if failures == runs else ["thing a"])


async def test_ddl_is_part_of_the_transaction_and_a_dropped_column_is_a_changed_schema(stocked: Database) -> None:
    columns = (Column("id", types.Id, primary_key=True), Column("colour", types.Text))
    gadgets = Table("gadgets", MetaData(), *columns)
    find = Statement(select(*gadgets.c))
    with pytest.raises(KeyError):
        async with stocked.transaction() as tx:
            await tx.execute_ddl(CreateTable(gadgets))
            raise KeyError
    async with stocked.transaction() as tx:
        await tx.execute_ddl(CreateTable(gadgets))
    assert await stocked.reads.list(find) == []
    async with stocked.transaction() as tx:
        await tx.execute_ddl("ALTER TABLE gadgets DROP COLUMN colour")
    with pytest.raises(SchemaChanged):
        await stocked.reads.list(find)
    with pytest.raises(SchemaChanged):
        async with stocked.transaction() as tx:
            await tx.list(find)


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "mysql://localhost/x", "keystead.db"])
def test_other_urls_are_rejected(url: str) -> None:
    with pytest.raises(errors.SettingsError, match="KEYSTEAD_DATABASE_URL"):
        open_database(url)
