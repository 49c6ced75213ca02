"""Use cases on definitions of entities: define, delete, list.

A plan is computed outside any write transaction: SQLite has one writer for all brands, and counting is slow. Registry,
tables, schema version, grants and audit log then change in one transaction, which rejects a stale plan (optimistic
concurrency control by the schema version).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, NoReturn
from weakref import WeakValueDictionary

import msgspec

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.brands import service as brands
from keystead.compiler import COMPILER
from keystead.context import Context
from keystead.db.interface import Contention, TooManyColumns, Tx
from keystead.entities import ddl, store
from keystead.entities.ddl import Change
from keystead.entities.definition_reader import parse_definition
from keystead.entities.grants import Grants, find_grants, revoke_grants
from keystead.entities.model import Entity, StoredEntity
from keystead.entities.plan_draft import COUNTING_TIMEOUT, Draft, count_with_timeout, judge_steps, make_draft, prepare
from keystead.entities.schema_plan import Plan, Step
from keystead.entities.tables import DialectName
from keystead.entity_names.store import list_names
from keystead.errors import BadUserInput, NotFound
from keystead.ids import new_id
from keystead.pagination import Page, PageRequest

ATTEMPTS = 5
"""Attempts while other processes change the brand's entities."""

_brand_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
"""One change of a brand's entities at a time in this process; the schema version detects those of other processes."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What is deleted with an entity."""

    entity: str
    records: int
    grants: Grants


class _StalePlanError(Exception):
    """Another process changed the entities since the plan was computed. Rolls back the transaction."""


class _PlanRejectedError(Exception):
    """Records written since the plan was computed break a rule. Rolls back the transaction."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__()
        self.steps = steps


async def define_entities(
    ctx: Context,
    brand_id: str,
    definition: object,
    *,
    dry_run: bool = False,
    allow_data_loss: bool = False,
    counting_timeout: float = COUNTING_TIMEOUT,
) -> Plan:
    """Create or change the entities that ``definition`` names; others do not change.

    Returns the plan. It is applied as a whole, or not at all with ``dry_run`` or when one of its steps is rejected.

    :param counting_timeout: seconds that counting records may take.
    :raises BadUserInput: for an invalid definition; names the path.
    :raises NotFound: when there is no such brand.
    :raises ServerBusy: when the queue for compiling or counting is full.
    :raises ServiceUnavailable: when counting takes too long.
    """
    wanted = await COMPILER.run(brand_id, partial(_read, definition))
    async with _locked(brand_id):
        for _ in range(ATTEMPTS):
            draft = await make_draft(ctx, brand_id, wanted, allow_data_loss, counting_timeout)
            plan = draft.result(applied=not dry_run)
            if plan.is_refused:
                return draft.result(applied=False)
            if dry_run or not plan.steps:
                return plan
            changes = await COMPILER.run(brand_id, partial(prepare, brand_id, draft, ctx.db.dialect))
            describe = partial(_described, ctx, brand_id)
            apply = _ApplyPlan(brand_id, draft, changes, allow_data_loss, ctx.db.dialect, ctx.now(), describe)
            try:
                return await ctx.db.run(apply)
            except _StalePlanError:
                continue
            except _PlanRejectedError as refusal:
                return replace(draft, steps=refusal.steps).result(applied=False)
            except TooManyColumns as error:
                raise BadUserInput(error.message, field="definition", cause=error.cause) from None
    raise Contention(cause="the brand's entities are changed again and again")


async def delete_entities(
    ctx: Context,
    brand_id: str,
    names: Sequence[str],
    *,
    dry_run: bool = False,
    allow_data_loss: bool = False,
    counting_timeout: float = COUNTING_TIMEOUT,
) -> list[Deletion]:
    """Delete entities with their records and all permissions on them, atomically.

    With ``dry_run`` nothing is deleted; the result is the same.

    :param counting_timeout: seconds that counting records may take.
    :raises NotFound: when one of them does not exist.
    :raises BadUserInput: when one of them has records and ``allow_data_loss`` is not set; names the argument.
    :raises ServerBusy: when too many plans of other brands are counted for.
    :raises ServiceUnavailable: when counting takes too long.
    """
    wanted = list(dict.fromkeys(names))
    async with _locked(brand_id):  # so that one brand's plans do not fill the queue of all brands
        planned = await count_with_timeout(counting_timeout, ctx.db, _count_losses(ctx, brand_id, wanted))
    if dry_run or not planned:
        return planned
    dialect = ctx.db.dialect

    # Rejections are raised inside, to roll back the transaction.
    async def delete(tx: Tx) -> list[Deletion]:
        await brands.bump_schema_version(tx, brand_id)
        known = await list_names(tx, brand_id)
        for one in planned:
            _require_known(one.entity, known)
            await ddl.lock_records(tx, brand_id, one.entity, dialect)
            if not allow_data_loss and await ddl.has_records(tx, brand_id, one.entity, dialect):
                raise BadUserInput(
                    f"'{one.entity}' has records ({max(one.records, 1)}): they would be lost."
                    " Set 'allow_data_loss' to delete them.",
                    field="allow_data_loss",
                )
            await ddl.drop_entity(tx, brand_id, one.entity, dialect)
        # Before grants are revoked: a concurrent grant locks the entity's row.
        await store.delete_entities(tx, brand_id, wanted)
        deleted = []
        for one in planned:
            grants = await revoke_grants(tx, brand_id, one.entity, ctx.now())
            details = {"entity": one.entity, "records": one.records, "grants": grants.described()}
            await audit.record(tx, audit.describe(ctx, "entity.deleted", brand_id=brand_id, details=details))
            deleted.append(Deletion(one.entity, one.records, grants))
        return deleted

    return await ctx.db.run(delete)


async def list_entities(
    ctx: Context, brand_id: str, request: PageRequest, *, with_total: bool = False
) -> Page[StoredEntity]:
    """One page of the brand's entities, by name."""
    rows = await store.list_page(ctx.db.scans, brand_id, request.probe, request.offset)
    stored = await COMPILER.run(brand_id, lambda: [store.read_stored(row) for row in rows])
    total = await store.count(ctx.db.reads, brand_id) if with_total else None
    return Page.cut(stored, request, total)


async def count_records(ctx: Context, brand_id: str, entity: Entity) -> int:
    """How many records an entity has."""
    return await ddl.count_records(ctx.db.scans, brand_id, entity.name, ctx.db.dialect)


@asynccontextmanager
async def _locked(brand_id: str) -> AsyncIterator[None]:
    lock = _brand_locks.get(brand_id)
    if lock is None:
        lock = _brand_locks[brand_id] = asyncio.Lock()
    async with lock:
        yield


def _read(definition: object) -> dict[str, Entity]:
    wanted = parse_definition(definition)
    _refuse_relations(wanted)
    return wanted


@dataclass(frozen=True, slots=True)
class _ApplyPlan:
    """Apply a plan in one transaction."""

    brand_id: str
    draft: Draft
    changes: Mapping[str, Sequence[Change]]
    allow_data_loss: bool
    dialect: DialectName
    now: datetime
    describe: Callable[[Sequence[Step], Mapping[str, Any]], AuditEvent]

    async def __call__(self, tx: Tx) -> Plan:
        draft, brand_id = self.draft, self.brand_id
        # The first statement locks the brand's row, so that two changes never interleave.
        version = await brands.bump_schema_version(tx, brand_id)
        if version != draft.version + 1:
            raise _StalePlanError
        for name in sorted(draft.wanted.keys() & draft.current.keys()):
            await ddl.lock_records(tx, brand_id, name, self.dialect)
        steps = await judge_steps(tx, draft.steps, draft.recheck, self.allow_data_loss)
        if any(step.refused is not None for step in steps):
            raise _PlanRejectedError(steps)
        ended: dict[str, Any] = {}
        for name, prepared in self.changes.items():
            entity = draft.wanted[name]
            if name in draft.current:
                await store.update_entity(tx, brand_id, entity, self.now)
            else:
                # Left over from a release that did not revoke grants, or from a partial restore.
                grants = await revoke_grants(tx, brand_id, name, self.now)
                ended |= {name: grants.described()} if grants else {}
                await store.insert_entity(tx, brand_id, new_id(self.now), entity, self.now)
            await ddl.apply_changes(tx, prepared)
        await audit.record(tx, self.describe(steps, ended))
        return Plan(steps, version, applied=True)


async def _count_losses(ctx: Context, brand_id: str, names: Sequence[str]) -> list[Deletion]:
    scans, dialect = ctx.db.scans, ctx.db.dialect
    known = await list_names(scans, brand_id)
    for name in names:
        _require_known(name, known)
    return [
        Deletion(
            name,
            await ddl.count_records(scans, brand_id, name, dialect),
            await find_grants(scans, brand_id, name),
        )
        for name in names
    ]


def _require_known(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise NotFound(f"There is no entity '{name[:80]}'.")


def _refuse_relations(wanted: Mapping[str, Entity]) -> None:
    for entity in wanted.values():
        for name in entity.relations:
            _refuse(f"{entity.name}.relations.{name}", "Relations are not supported yet: leave this one out.")


def _refuse(path: str, message: str) -> NoReturn:
    raise BadUserInput(message, field=path)


def _described(ctx: Context, brand_id: str, steps: Sequence[Step], ended: Mapping[str, Any]) -> AuditEvent:
    changes: list[dict[str, Any]] = [
        {"entity": step.entity, "action": step.action.value, **({"field": step.field} if step.field else {})}
        for step in steps
    ]
    details = {"steps": msgspec.to_builtins(changes), **({"grants_ended": ended} if ended else {})}
    return audit.describe(ctx, "entity.defined", brand_id=brand_id, details=details)
