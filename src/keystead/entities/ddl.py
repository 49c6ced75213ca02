"""DDL of schema changes, and the queries that count the records which a step affects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, func, literal_column, not_, select, text, update

from keystead.db.interface import Tx
from keystead.db.statements import Statement, any_of
from keystead.db.types import Text
from keystead.entities.fields import LONGEST_INDEXED, make_check
from keystead.entities.model import Entity, Field
from keystead.entities.schema_plan import Action, Facts, Step, fills_gaps
from keystead.entities.tables import (
    DialectName,
    add_column,
    column_name,
    comparable,
    count_values,
    create_index,
    create_table,
    drop_column,
    drop_index,
    drop_table,
    field_indexes,
    lock_table,
    make_table,
)


class FactQuery:
    """Queries for the :class:`Facts` of steps on one entity. Build it on a worker thread: compiling is slow."""

    def __init__(self, brand_id: str, entity: Entity, steps: Sequence[Step], dialect: DialectName) -> None:
        self.steps = tuple(steps)
        changed = {step.field: entity.fields[step.field] for step in steps if step.field and step.old is not None}
        self._filled = tuple(changed)
        counting = count_values(_bare(brand_id, entity.name, dialect), self._filled, dialect)
        self._counting = Statement(text(counting), unbranded="the table is its brand's own")
        self._others: list[tuple[int, str, Statement, dict[str, Any]]] = []
        closer = [number for number, step in enumerate(steps) if step.old is not None and step.new is not None]
        if closer:
            table = make_table(brand_id, Entity(entity.name, changed), dialect)
            for number in closer:
                self._add_query(number, table, steps[number])
        for statement in (self._counting, *(other[2] for other in self._others)):
            statement.compiled(dialect)

    def _add_query(self, number: int, table: Table, step: Step) -> None:
        name, old, new = step.field, step.old, step.new
        if name is None or old is None or new is None:
            return
        column = table.c[column_name(name)]
        if new.unique and not old.unique:
            self._others.append((number, "repeated", _repeated(comparable(table, name, old)), {}))
        if new.values is not None and old.values is not None and set(old.values) - set(new.values):
            unlisted = _counting(table, not_(any_of(column, "listed")))
            self._others.append((number, "unlisted", unlisted, {"listed": list(new.values)}))
        if isinstance(column.type, Text) and (new.unique or new.indexed) and not (old.unique or old.indexed):
            self._others.append((number, "oversized", _counting(table, func.length(column) > LONGEST_INDEXED), {}))

    async def facts(self, tx: Tx) -> list[Facts]:
        """Return the facts of each step."""
        counts = await tx.find(self._counting) or [0] * (1 + len(self._filled))
        filled = dict(zip(self._filled, map(int, counts[1:]), strict=True))
        closer: list[dict[str, int]] = [{} for _ in self.steps]
        for number, fact, statement, params in self._others:
            row = await tx.find(statement, **params)
            closer[number][fact] = int(row[0]) if row else 0
        return [
            Facts(records=int(counts[0]), filled=filled.get(step.field or "", 0), **found)
            for step, found in zip(self.steps, closer, strict=True)
        ]


async def gather_facts(tx: Tx, query: FactQuery) -> list[Facts]:
    """Return the facts of each step of a query."""
    return await query.facts(tx)


async def lock_records(tx: Tx, brand_id: str, name: str, dialect: DialectName) -> None:
    """Lock an entity's records against changes until the transaction ends."""
    await _run(tx, lock_table(_bare(brand_id, name, dialect), dialect))


async def count_records(tx: Tx, brand_id: str, name: str, dialect: DialectName) -> int:
    """Count the records of an entity."""
    row = await tx.find(Statement(select(func.count()).select_from(_bare(brand_id, name, dialect))))
    return int(row[0]) if row else 0


async def has_records(tx: Tx, brand_id: str, name: str, dialect: DialectName) -> bool:
    """Return whether an entity has any record."""
    table = _bare(brand_id, name, dialect)
    return await tx.find(Statement(select(table.c.integer_id).limit(literal_column("1")))) is not None


@dataclass(frozen=True, slots=True)
class Change:
    """One compiled statement of a plan: DDL, or an update that backfills a default."""

    ddl: str = ""
    backfill: Statement | None = None
    given: Any = None


def prepare_changes(
    brand_id: str, old: Entity | None, new: Entity, steps: Sequence[Step], dialect: DialectName
) -> list[Change]:
    """Compile the changes of one entity's table. Run it on a worker thread: with many fields it is slow."""
    after = make_table(brand_id, new, dialect)
    if old is None:
        return [Change(ddl) for ddl in create_table(after, dialect)]
    before = make_table(brand_id, old, dialect)
    changes: list[Change] = []
    for step in steps:
        if step.field is None:
            continue
        match step.action:
            case Action.drop_field:
                indexes = field_indexes(before, step.field).values()
                changes += [Change(drop_index(index, dialect)) for index in indexes]
                changes.append(Change(drop_column(before, step.field, dialect)))
            case Action.add_field:
                changes.append(Change(add_column(after, step.field, dialect)))
                changes += _backfill(after, step.field, step.new, dialect)
                indexes = field_indexes(after, step.field).values()
                changes += [Change(create_index(index, dialect)) for index in indexes]
            case Action.change_field:
                changes += _change_field(before, after, step.field, step, dialect)
    return changes


async def apply_changes(tx: Tx, changes: Sequence[Change]) -> None:
    """Execute the changes of one entity's table."""
    for change in changes:
        if change.backfill is not None:
            await tx.execute(change.backfill, given=change.given)
        else:
            await tx.execute_ddl(change.ddl)


async def drop_entity(tx: Tx, brand_id: str, name: str, dialect: DialectName) -> None:
    """Drop the table of an entity with its records."""
    await tx.execute_ddl(drop_table(_bare(brand_id, name, dialect), dialect))


def _bare(brand_id: str, name: str, dialect: DialectName) -> Table:
    """Return the table without the columns of its fields, which are slow to build."""
    return make_table(brand_id, Entity(name, {}), dialect)


def _change_field(before: Table, after: Table, name: str, step: Step, dialect: DialectName) -> list[Change]:
    was, will_be = field_indexes(before, name), field_indexes(after, name)
    changes = [Change(drop_index(was[index], dialect)) for index in was.keys() - will_be.keys()]
    if step.old is not None and step.new is not None and fills_gaps(step.old, step.new):
        changes += _backfill(after, name, step.new, dialect)
    return changes + [Change(create_index(will_be[index], dialect)) for index in will_be.keys() - was.keys()]


def _backfill(table: Table, name: str, field: Field | None, dialect: DialectName) -> list[Change]:
    """Backfill the field's default where records have no value. A bound parameter: an admin wrote it."""
    if field is None or field.default is None:
        return []
    column = table.c[column_name(name)]
    value = make_check(name, field)(field.default)
    backfill = Statement(update(table).where(column.is_(None)).values({column: bindparam("given", type_=column.type)}))
    backfill.compiled(dialect)
    return [Change(backfill=backfill, given=value)]


def _counting(table: Table, condition: ColumnElement[bool]) -> Statement:
    return Statement(select(func.count()).select_from(table).where(condition))


def _repeated(value: ColumnElement[Any]) -> Statement:
    """Count the values that more than one record has."""
    groups = select(value.label("value")).where(value.is_not(None)).group_by(value).having(func.count() > 1).subquery()
    return Statement(select(func.count()).select_from(groups))


async def _run(tx: Tx, texts: Sequence[str]) -> None:
    for one in texts:
        await tx.execute_ddl(one)
