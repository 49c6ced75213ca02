"""Definitions of entities: plan, apply, delete, list. One transaction: registry, tables, schema version and audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.brands import service as brands
from keystead.context import Context
from keystead.db.engine import TooManyColumns, Tx
from keystead.entities import alterations, store
from keystead.entities.definition import parse_definition
from keystead.entities.model import Entity, StoredEntity
from keystead.entities.names import require_distinct
from keystead.entities.plan import Action, Plan, Step, compare, judge
from keystead.entities.tables import DialectName, make_table
from keystead.errors import BadUserInput, NotFound
from keystead.ids import new_id
from keystead.pagination import Page, PageRequest

MOST_ENTITIES = 250
"""Of one brand."""


async def define_entities(
    ctx: Context, brand_id: str, definition: object, *, dry_run: bool = False, allow_data_loss: bool = False
) -> Plan:
    """Makes the entities that ``definition`` names what it says; others stay as they are.

    The plan comes back: applied as a whole, or not at all when ``dry_run`` is set or one of its steps is refused.

    :raises BadUserInput: when the definition itself is at fault; names the path.
    :raises NotFound: when there is no such brand.
    """
    wanted = parse_definition(definition)
    _refuse_relations(wanted)
    dialect = ctx.db.dialect

    async def plan_and_apply(tx: Tx) -> Plan:
        # The first statement takes the brand's row, so that two definitions never interleave.
        version = await brands.bump_schema_version(tx, brand_id)
        current = await _current(tx, brand_id)
        if not dry_run:
            for name in sorted(wanted.keys() & current.keys()):
                await alterations.hold_still(tx, brand_id, current[name], dialect)
        plan = await _plan(tx, brand_id, current, wanted, dialect, allow_data_loss)
        if dry_run or plan.is_refused or not plan.steps:
            raise _NothingToWriteError(Plan(plan.steps, version - 1, applied=not (dry_run or plan.is_refused)))
        await _apply(tx, brand_id, current, wanted, plan.steps, dialect, ctx.now())
        await audit.record(tx, _described(ctx, brand_id, plan.steps))
        return Plan(plan.steps, version, applied=True)

    try:
        return await ctx.db.run(plan_and_apply)
    except _NothingToWriteError as nothing:
        return nothing.plan
    except TooManyColumns as error:
        raise BadUserInput(error.message, field="definition", cause=error.cause) from None


class _NothingToWriteError(Exception):
    """Takes back the bumped version: a plan that changes nothing must not make every worker build its schema anew."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


async def delete_entities(ctx: Context, brand_id: str, names: Sequence[str], *, allow_data_loss: bool = False) -> None:
    """Deletes all of the entities with their records, or none.

    :raises NotFound: when one of them does not exist.
    :raises BadUserInput: when one of them has records and ``allow_data_loss`` is not set; names the argument.
    """
    if not names:
        return
    dialect = ctx.db.dialect

    # Refusals are raised inside: nothing of the transaction may stay.
    async def delete(tx: Tx) -> None:
        await brands.bump_schema_version(tx, brand_id)
        current = await _current(tx, brand_id)
        for name in dict.fromkeys(names):
            entity = current.get(name)
            if entity is None:
                raise NotFound(f"There is no entity '{name[:80]}'.")
            await alterations.hold_still(tx, brand_id, entity, dialect)
            records = await alterations.count_records(tx, brand_id, entity, dialect)
            if records and not allow_data_loss:
                raise BadUserInput(
                    f"'{name}' has records ({records}): they would be lost. Set allow_data_loss to delete them.",
                    field="allow_data_loss",
                )
            await alterations.drop_entity(tx, brand_id, entity, dialect)
            event = audit.describe(
                ctx, "entity.deleted", brand_id=brand_id, details={"entity": name, "records": records}
            )
            await audit.record(tx, event)
        await store.delete_entities(tx, brand_id, list(dict.fromkeys(names)))

    await ctx.db.run(delete)


async def list_entities(
    ctx: Context, brand_id: str, request: PageRequest, *, with_total: bool = False
) -> Page[StoredEntity]:
    """One page of the brand's entities, by name."""
    rows = await store.list_page(ctx.db.reads, brand_id, request.probe, request.offset)
    total = await store.count(ctx.db.reads, brand_id) if with_total else None
    return Page.cut(rows, request, total)


async def count_records(ctx: Context, brand_id: str, entity: Entity) -> int:
    """How many records an entity has."""
    return await alterations.count_records(ctx.db.scans, brand_id, entity, ctx.db.dialect)


async def _current(tx: Tx, brand_id: str) -> dict[str, Entity]:
    return {stored.entity.name: stored.entity for stored in await store.list_all(tx, brand_id)}


async def _plan(
    tx: Tx,
    brand_id: str,
    current: Mapping[str, Entity],
    wanted: Mapping[str, Entity],
    dialect: DialectName,
    allow_data_loss: bool,
) -> Plan:
    together = {**current, **wanted}
    require_distinct(together)
    if len(together) > MOST_ENTITIES:
        raise BadUserInput(f"A brand has at most {MOST_ENTITIES} entities.", field="definition")
    judged = []
    for step in compare(current, wanted.values()):
        if step.action is Action.create_entity:
            judged.append(step)
            continue
        table = make_table(brand_id, current[step.entity], dialect)
        facts = await alterations.gather_facts(tx, table, step)
        judged.append(judge(step, facts, allow_data_loss=allow_data_loss))
    return Plan(tuple(judged), 0)


async def _apply(
    tx: Tx,
    brand_id: str,
    current: Mapping[str, Entity],
    wanted: Mapping[str, Entity],
    steps: Sequence[Step],
    dialect: DialectName,
    now: datetime,
) -> None:
    for name in dict.fromkeys(step.entity for step in steps):
        old, new = current.get(name), wanted[name]
        if old is None:
            await store.insert_entity(tx, brand_id, new_id(now), new, now)
        else:
            await store.update_entity(tx, brand_id, new, now)
        own = [step for step in steps if step.entity == name]
        await alterations.carry_out(tx, brand_id, old, new, own, dialect)


def _refuse_relations(wanted: Mapping[str, Entity]) -> None:
    for entity in wanted.values():
        for name in entity.relations:
            _refuse(f"{entity.name}.relations.{name}", "Relations are not served yet: leave this one out.")


def _refuse(path: str, message: str) -> NoReturn:
    raise BadUserInput(message, field=path)


def _described(ctx: Context, brand_id: str, steps: Sequence[Step]) -> AuditEvent:
    changes: list[dict[str, Any]] = [
        {"entity": step.entity, "action": step.action.value, **({"field": step.field} if step.field else {})}
        for step in steps
    ]
    return audit.describe(ctx, "entity.defined", brand_id=brand_id, details={"steps": msgspec.to_builtins(changes)})
