"""Carries out the steps of a plan on the records' tables, and asks the records what a step would do to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, func, not_, select, update

from keystead.db.engine import Tx
from keystead.db.statements import Statement, any_of
from keystead.db.types import Text
from keystead.entities.fields import LONGEST_INDEXED, make_check
from keystead.entities.model import Entity, Field
from keystead.entities.plan import Action, Facts, Step, fills_gaps
from keystead.entities.tables import (
    DialectName,
    add_column,
    column_name,
    comparable,
    create_index,
    create_table,
    drop_column,
    drop_index,
    drop_table,
    field_indexes,
    lock_table,
    make_table,
)


async def hold_still(tx: Tx, brand_id: str, entity: Entity, dialect: DialectName) -> None:
    """Keeps the entity's records as they are until the transaction ends, so that what is learnt of them stays true."""
    await _run(tx, lock_table(make_table(brand_id, entity, dialect), dialect))


async def gather_facts(tx: Tx, table: Table, step: Step) -> Facts:
    """What the records say about a step on a field; ``table`` is the one that is there."""
    records = await _count(tx, table)
    if step.field is None or step.old is None:
        return Facts(records=records)
    column, old, new = table.c[column_name(step.field)], step.old, step.new
    filled = await _count(tx, table, column.is_not(None))
    if new is None:
        return Facts(records=records, filled=filled)
    repeated = unlisted = oversized = 0
    if new.unique and not old.unique:
        repeated = await _repeated(tx, comparable(table, step.field, old))
    if new.values is not None and old.values is not None and set(old.values) - set(new.values):
        unlisted = await _count(tx, table, not_(any_of(column, "listed")), listed=list(new.values))
    if isinstance(column.type, Text) and (new.unique or new.indexed) and not (old.unique or old.indexed):
        oversized = await _count(tx, table, func.length(column) > LONGEST_INDEXED)
    return Facts(records=records, filled=filled, repeated=repeated, unlisted=unlisted, oversized=oversized)


async def count_records(tx: Tx, brand_id: str, entity: Entity, dialect: DialectName) -> int:
    """How many records an entity has."""
    return await _count(tx, make_table(brand_id, entity, dialect))


async def carry_out(
    tx: Tx, brand_id: str, old: Entity | None, new: Entity, steps: Sequence[Step], dialect: DialectName
) -> None:
    """Changes the table of one entity."""
    after = make_table(brand_id, new, dialect)
    if old is None:
        await _run(tx, create_table(after, dialect))
        return
    before = make_table(brand_id, old, dialect)
    for step in steps:
        if step.field is None:
            continue
        match step.action:
            case Action.drop_field:
                await _run(tx, [drop_index(index, dialect) for index in field_indexes(before, step.field).values()])
                await tx.execute_ddl(drop_column(before, step.field, dialect))
            case Action.add_field:
                await tx.execute_ddl(add_column(after, step.field, dialect))
                await _fill(tx, after, step.field, step.new)
                await _run(tx, [create_index(index, dialect) for index in field_indexes(after, step.field).values()])
            case Action.change_field:
                await _change(tx, before, after, step.field, step, dialect)


async def drop_entity(tx: Tx, brand_id: str, entity: Entity, dialect: DialectName) -> None:
    """Drops the table of an entity with its records."""
    await tx.execute_ddl(drop_table(make_table(brand_id, entity, dialect), dialect))


async def _change(tx: Tx, before: Table, after: Table, name: str, step: Step, dialect: DialectName) -> None:
    was, will_be = field_indexes(before, name), field_indexes(after, name)
    await _run(tx, [drop_index(was[index], dialect) for index in was.keys() - will_be.keys()])
    if step.old is not None and step.new is not None and fills_gaps(step.old, step.new):
        await _fill(tx, after, name, step.new)
    await _run(tx, [create_index(will_be[index], dialect) for index in will_be.keys() - was.keys()])


async def _fill(tx: Tx, table: Table, name: str, field: Field | None) -> None:
    """Gives the field's default to the records that have no value. Bound as a parameter: an admin wrote it."""
    if field is None or field.default is None:
        return
    column = table.c[column_name(name)]
    value = make_check(name, field)(field.default)
    filling = update(table).where(column.is_(None)).values({column: bindparam("given", type_=column.type)})
    await tx.execute(Statement(filling), given=value)


async def _count(tx: Tx, table: Table, condition: ColumnElement[bool] | None = None, **params: Any) -> int:
    counting = select(func.count()).select_from(table)
    row = await tx.find(Statement(counting if condition is None else counting.where(condition)), **params)
    return int(row[0]) if row else 0


async def _repeated(tx: Tx, value: ColumnElement[Any]) -> int:
    groups = select(value.label("value")).where(value.is_not(None)).group_by(value).having(func.count() > 1).subquery()
    row = await tx.find(Statement(select(func.count()).select_from(groups)))
    return int(row[0]) if row else 0


async def _run(tx: Tx, texts: Sequence[str]) -> None:
    for text in texts:
        await tx.execute_ddl(text)
