"""Drafts of schema plans, computed outside any write transaction.

SQLite has one writer for all brands, and counting is slow: records are counted on reader threads, for one plan at a
time and with a timeout. Tables and statements are compiled on a worker thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from keystead.brands import service as brands
from keystead.compiler import COMPILER
from keystead.context import Context
from keystead.db.interface import Database, Row, Tx
from keystead.entities import ddl, store
from keystead.entities.ddl import Change, FactQuery
from keystead.entities.model import Entity
from keystead.entities.names import require_distinct
from keystead.entities.schema_plan import Plan, Step, compare, depends_on_records, judge
from keystead.entities.tables import DialectName
from keystead.entity_names.service import refuse_unknown
from keystead.errors import BadUserInput, ServerBusy, ServiceUnavailable

T = TypeVar("T")

MOST_ENTITIES = 250
"""Per brand."""
COUNTING_TIMEOUT = 3.0
"""Seconds for counting records, which leaves the rest of a request's time to the change itself."""
_counting_locks: WeakKeyDictionary[Database, asyncio.Lock] = WeakKeyDictionary()
"""One count at a time, so that one of SQLite's two reader threads stays free for lists of records. A brand has at most
one plan in the queue: its plans are computed one after another."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that is not applied yet, and the schema version it is based on."""

    version: int
    current: Mapping[str, Entity]
    wanted: Mapping[str, Entity]
    queries: Sequence[FactQuery] = ()
    steps: tuple[Step, ...] = ()
    recheck: Sequence[FactQuery] = ()
    """Queries to repeat inside the transaction, as concurrent writes can change their result."""

    def result(self, *, applied: bool) -> Plan:
        return Plan(self.steps, self.version, applied=applied)


async def count_with_timeout(seconds: float, db: Database, counting: Coroutine[Any, Any, T]) -> T:
    """Await ``counting`` in a queue, with a timeout for the wait and one for the work.

    :raises ServerBusy: when it waits for longer than ``seconds``.
    :raises ServiceUnavailable: when it takes longer than ``seconds``.
    """
    lock = _counting_locks.setdefault(db, asyncio.Lock())
    try:
        try:
            async with asyncio.timeout(seconds):
                await lock.acquire()
        except TimeoutError:
            raise ServerBusy(
                "Other changes of entities are counting records: try again in a moment.",
                cause="waited too long to count records for a plan",
            ) from None
        try:
            async with asyncio.timeout(seconds):
                return await counting
        except TimeoutError:
            message = (
                "Counting the records took too long: change fewer fields at a time, or ask the server's operator, whose"
                " command line waits longer."
            )
            raise ServiceUnavailable(message, cause="counting records for a plan took too long") from None
        finally:
            lock.release()
    finally:
        counting.close()  # if it was never started


async def make_draft(
    ctx: Context, brand_id: str, wanted: Mapping[str, Entity], allow_data_loss: bool, counting_timeout: float
) -> Draft:
    # The version first: a later change makes the plan stale, never wrong.
    version = (await brands.get_brand(ctx, brand_id)).schema_version
    rows = await store.list_definitions(ctx.db.scans, brand_id)
    draft = await COMPILER.run(brand_id, partial(_drafted, brand_id, version, rows, wanted, ctx.db.dialect))
    if not draft.queries:
        return draft
    steps = await count_with_timeout(
        counting_timeout, ctx.db, judge_steps(ctx.db.scans, draft.steps, draft.queries, allow_data_loss)
    )
    return replace(draft, steps=steps)


def _drafted(
    brand_id: str, version: int, rows: Sequence[Row], wanted: Mapping[str, Entity], dialect: DialectName
) -> Draft:
    """Compute the steps, not judged yet."""
    current = {entity.name: entity for entity in map(store.read_definition, rows)}
    together = {**current, **wanted}
    require_distinct(together)
    if len(together) > MOST_ENTITIES:
        raise BadUserInput(f"A brand has at most {MOST_ENTITIES} entities.", field="definition")
    _require_known_entities(wanted, together)
    steps = compare(current, wanted.values())
    queries = tuple(_fact_queries(brand_id, current, steps, dialect))
    again = tuple(_fact_queries(brand_id, current, tuple(filter(depends_on_records, steps)), dialect))
    return Draft(version, current, wanted, queries, steps, again)


def _fact_queries(
    brand_id: str, current: Mapping[str, Entity], steps: Sequence[Step], dialect: DialectName
) -> Iterator[FactQuery]:
    for name, own in groupby(steps, key=lambda step: step.entity):
        if name in current:
            yield FactQuery(brand_id, current[name], list(own), dialect)


async def judge_steps(
    tx: Tx, steps: tuple[Step, ...], queries: Sequence[FactQuery], allow_data_loss: bool
) -> tuple[Step, ...]:
    """Return the steps, with those of the queries judged by counts of records."""
    judged: dict[tuple[str, str | None], Step] = {}
    for query in queries:
        facts = await ddl.gather_facts(tx, query)
        for step, said in zip(query.steps, facts, strict=True):
            judged[(step.entity, step.field)] = judge(step, said, allow_data_loss=allow_data_loss)
    return tuple(judged.get((step.entity, step.field), step) for step in steps)


def prepare(brand_id: str, draft: Draft, dialect: DialectName) -> dict[str, list[Change]]:
    """Compile the statements of the plan, by entity."""
    return {
        name: ddl.prepare_changes(brand_id, draft.current.get(name), draft.wanted[name], list(own), dialect)
        for name, own in groupby(draft.steps, key=lambda step: step.entity)
    }


def _require_known_entities(wanted: Mapping[str, Entity], together: Mapping[str, Entity]) -> None:
    """Check that permissions of fields name entities of the brand or of this definition."""
    for entity in wanted.values():
        for name, field in entity.fields.items():
            for key, permissions in (("read", field.read), ("write", field.write)):
                for permission in permissions or ():
                    refuse_unknown(permission, together.keys(), field=f"{entity.name}.fields.{name}.{key}")
