"""What one definition, one schema and one pattern may hold keeps the event loop for less than 50 ms at a time."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from keystead.brands import service as brands
from keystead.context import ActiveBrand, Server
from keystead.db.interface import Database, Tx
from keystead.entities import ddl, definition_service, plan_draft, record_service, store
from keystead.entities.definition_reader import parse_definition
from keystead.entities.fields import compile_pattern
from keystead.entities.model import Entity
from keystead.entities.registry import get_record_type
from keystead.errors import BadUserInput, ServerBusy, ServiceUnavailable
from keystead.graphql.introspection import Introspector
from keystead.graphql.resolvers import load_resolvers
from keystead.graphql.resolvers.entities import load_entity_fields
from keystead.graphql.schema import load_fixed
from keystead.graphql.schema_cache import SchemaCache
from keystead.ids import new_id
from keystead.pagination import PageRequest
from tests.entities.callers import current
from tests.make import make_brand, make_context

LONGEST = 0.05
"""Seconds of the loop's own thread, so that a busy machine fails nothing."""
ROUNDS = 3

Work = Callable[[], Awaitable[Any]]

# What these tests measure happens before any statement.
on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


async def longest_hold(work: Awaitable[Any]) -> float:
    """The most CPU time that the loop's thread used without letting another task run, while ``work`` ran."""
    gc.collect()
    longest, task = 0.0, asyncio.ensure_future(work)
    while not task.done():
        before = time.thread_time()
        await asyncio.wait([task], timeout=0.001)
        longest = max(longest, time.thread_time() - before)
    await task
    return longest


async def holds_briefly(work: Work) -> bool:
    """Whether ``work`` stayed under the limit once: the rest of a busy machine is not its fault."""
    for _ in range(ROUNDS):
        if await longest_hold(work()) < LONGEST:
            return True
    return False


def fields(number: int = 100, **rules: Any) -> dict[str, Any]:
    return {"fields": {f"f{n}": {"type": "string", **rules} for n in range(number)}}


def patterns(pattern: str) -> dict[str, Any]:
    """An entity with 99 patterns: ``pattern`` with a number in it."""
    return {"n": {"fields": {f"f{n}": {"type": "string", "pattern": pattern % n} for n in range(99)}}}


@pytest.fixture
async def large(server: Server, brand: ActiveBrand) -> ActiveBrand:
    entity = parse_definition({"e": fields()})["e"]
    async with server.db.transaction() as tx:
        for number in range(250):
            now = server.clock.now()
            await store.insert_entity(tx, brand.id, new_id(now), replace(entity, name=f"e{number}"), now)
        await brands.bump_schema_version(tx, brand.id)
    return await current(server, brand)


@on_sqlite
async def test_a_large_schema_is_built_beside_the_loop(server: Server, large: ActiveBrand) -> None:
    quiet, fixed = await make_brand(server, "quiet"), load_fixed(load_resolvers())

    async def build() -> None:
        # What was kept of the version is not used: each round reads and builds again.
        async with server.db.transaction() as tx:
            await brands.bump_schema_version(tx, large.id)
        cache = SchemaCache(fixed, partial(load_entity_fields, server.db))
        building = asyncio.ensure_future(cache.get(await current(server, large)))
        await asyncio.sleep(0)
        assert (await cache.get(quiet)).key.startswith(quiet.id)
        assert not building.done(), "another brand's schema waits for the large one"
        await building

    assert await holds_briefly(build)


def names_of(node: Any) -> list[str]:
    """What a query for the names of all types selects."""
    return [type_["name"] for type_ in node["types"]]


@on_sqlite
async def test_a_large_schema_is_described_beside_the_loop(server: Server, large: ActiveBrand) -> None:
    version = await SchemaCache(load_fixed(load_resolvers()), partial(load_entity_fields, server.db)).get(large)
    ctx = make_context(server, large)

    assert await holds_briefly(lambda: Introspector().answer(version, ctx, b"a shape", None, names_of))


@on_sqlite
async def test_what_looks_alike_in_a_schema_is_one_object(server: Server, brand: ActiveBrand) -> None:
    await definition_service.define_entities(
        make_context(server), brand.id, {"a": fields(3), "b": fields(3, required=True)}
    )
    version = await SchemaCache(load_fixed(load_resolvers()), partial(load_entity_fields, server.db)).get(
        await current(server, brand)
    )
    types: Any = version.schema.type_map
    outputs = {id(types[name].fields[f"f{n}"]) for name in ("A", "B") for n in range(3)}
    inputs = [{id(types[name].fields[f"f{n}"]) for n in range(3)} for name in ("CreateAInput", "CreateBInput")]
    assert [len(outputs), *map(len, inputs)] == [1, 1, 1]
    assert inputs[0] != inputs[1]


DEFINITIONS: dict[str, dict[str, Any]] = {
    "many fields": {f"n{n}": fields() for n in range(60)},
    "long lists of values": {
        f"n{n}": {"fields": {"f": {"type": "enum", "values": [f"{m:04}" for m in range(200)]}}} for n in range(100)
    },
    "many patterns": patterns("(\\d%d){1,9}(.{1,4}-){1,9}"),
    "a fault at the end": {**{f"n{n}": fields() for n in range(60)}, "last": {"fields": {"id": {"type": "string"}}}},
    "many defaults": {"n": fields(default="x" * 200)},
}


@on_sqlite
@pytest.mark.parametrize("name", DEFINITIONS)
async def test_a_definition_is_read_beside_the_loop(server: Server, brand: ActiveBrand, name: str) -> None:
    async def define() -> None:
        compile_pattern.cache_clear()
        try:
            await definition_service.define_entities(make_context(server), brand.id, DEFINITIONS[name], dry_run=True)
        except BadUserInput:
            assert "fault" in name

    assert await holds_briefly(define)


@on_sqlite
async def test_a_plan_for_many_drops_is_made_beside_the_loop(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server)
    await definition_service.define_entities(ctx, brand.id, {f"e{n}": fields() for n in range(10)})
    dropped = {f"e{n}": {"fields": {"other": {"type": "string"}}} for n in range(10)}

    assert await holds_briefly(lambda: definition_service.define_entities(ctx, brand.id, dropped, dry_run=True))
    page = asyncio.ensure_future(definition_service.list_entities(ctx, brand.id, PageRequest(per_page=100)))
    assert await longest_hold(page) < LONGEST


async def test_statements_and_patterns_are_compiled_beside_the_loop(server: Server, brand: ActiveBrand) -> None:
    pattern = "\\pL{1,2}|.*"
    await definition_service.define_entities(make_context(server), brand.id, {"thing": fields(20, pattern=pattern)})
    compile_pattern.cache_clear()
    now = await current(server, brand)
    kind, names = await get_record_type(server.db, now, "thing"), frozenset(f"f{n}" for n in range(20))
    ctx, values = make_context(server, now), dict.fromkeys(sorted(names), "text")
    assert await longest_hold(record_service.create_record(ctx, kind, values, names)) < LONGEST
    assert await longest_hold(record_service.list_records(ctx, kind, PageRequest(), names)) < LONGEST


@on_sqlite
async def test_a_slow_match_runs_beside_the_loop(server: Server, brand: ActiveBrand) -> None:
    body = {"fields": {"f": {"type": "text", "max_length": 60_000, "pattern": ".*[a-c].{120}x|.*"}}}
    await definition_service.define_entities(make_context(server), brand.id, {"thing": body})
    now = await current(server, brand)
    kind, text = await get_record_type(server.db, now, "thing"), "".join("abc"[n * n * 7 % 3] for n in range(60_000))
    ctx = make_context(server, now)
    await record_service.create_record(ctx, kind, {"f": "short"})
    assert await holds_briefly(lambda: record_service.create_record(ctx, kind, {"f": text}))


@on_sqlite
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"type": "text", "pattern": ".*[a-c](.{40}|\\pL{35})[a-c].{45}x"}, "too long on the longest value"),
        ({"type": "string", "max_length": 10_000, "pattern": "\\pL{1,20}"}, "too long on the longest value"),
        ({"type": "text", "max_length": 100, "pattern": ".*[a-c](.{40}|\\pL{35})[a-c].{45}x"}, None),
        ({"type": "text", "pattern": "[\\pL ]+"}, None),
    ],
)
async def test_a_pattern_is_bounded_by_its_longest_value(
    server: Server, brand: ActiveBrand, body: dict[str, Any], said: str | None
) -> None:
    definition = {"thing": {"fields": {"f": body}}}
    if said is None:
        assert not (await definition_service.define_entities(make_context(server), brand.id, definition)).is_refused
        return
    with pytest.raises(BadUserInput, match=said) as refused:
        await definition_service.define_entities(make_context(server), brand.id, definition)
    assert refused.value.extensions["field"] == "thing.fields.f.pattern"


@on_sqlite
async def test_the_patterns_of_a_definition_are_bounded_together(server: Server, brand: ActiveBrand) -> None:
    with pytest.raises(BadUserInput, match="limit for all patterns"):
        await definition_service.define_entities(
            make_context(server), brand.id, patterns("(\\pL%d){1,20}"), dry_run=True
        )


def never(*_: Any) -> Awaitable[Any]:
    """Counting that does not end."""
    return asyncio.Event().wait()


async def test_a_plan_has_a_deadline_and_the_next_one_its_turn(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_context(server)
    await definition_service.define_entities(ctx, brand.id, {"thing": fields(1)})
    dropped: dict[str, Any] = {"thing": {"fields": {"other": {"type": "string"}}}}
    with monkeypatch.context() as patched:
        patched.setattr("keystead.entities.ddl.gather_facts", never)
        patched.setattr("keystead.entities.ddl.count_records", never)
        with pytest.raises(ServiceUnavailable, match="took too long"):
            await definition_service.define_entities(ctx, brand.id, dropped, dry_run=True, counting_timeout=0.05)
        with pytest.raises(ServiceUnavailable, match="took too long"):
            await definition_service.delete_entities(ctx, brand.id, ["thing"], counting_timeout=0.05)
    assert (await definition_service.define_entities(ctx, brand.id, dropped, dry_run=True)).is_refused
    assert plan_draft.COUNTING_TIMEOUT < 5


UNIQUE: dict[str, Any] = {"thing": {"fields": {"f0": {"type": "string", "unique": True}}}}


async def test_only_what_counts_records_waits_for_its_turn(server: Server, brand: ActiveBrand) -> None:
    ctx = make_context(server)
    await definition_service.define_entities(ctx, brand.id, {"thing": fields(1)})
    lock = plan_draft._counting_locks.setdefault(server.db, asyncio.Lock())
    async with lock:
        for body in ({"other": fields(1)}, {"thing": fields(1)}):
            assert (await definition_service.define_entities(ctx, brand.id, body, counting_timeout=0.05)).applied
        with pytest.raises(ServerBusy, match="Other changes"):
            await definition_service.define_entities(ctx, brand.id, UNIQUE, counting_timeout=0.05)
    assert not lock.locked()
    assert (await definition_service.define_entities(ctx, brand.id, UNIQUE)).applied


async def test_the_wait_for_its_turn_takes_nothing_of_the_time_to_count(server: Server) -> None:
    counted, loop = asyncio.Event(), asyncio.get_running_loop()
    lock = plan_draft._counting_locks.setdefault(server.db, asyncio.Lock())
    await lock.acquire()
    loop.call_later(0.6, lock.release)
    loop.call_later(1.2, counted.set)
    assert await plan_draft.count_with_timeout(1.0, server.db, counted.wait())


async def test_a_brand_has_one_plan_in_the_queue(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx, quiet, gate, order = make_context(server), await make_brand(server, "quiet"), asyncio.Event(), list[str]()
    for one in (brand, quiet):
        await definition_service.define_entities(ctx, one.id, {"thing": fields(1)})
    count_records, gather_facts = ddl.count_records, ddl.gather_facts

    async def counted(tx: Tx, brand_id: str, *arguments: Any) -> int:
        order.append(brand_id)
        await gate.wait()
        return await count_records(tx, brand_id, *arguments)

    async def gathered(tx: Tx, query: ddl.FactQuery) -> Any:
        order.append("quiet")
        return await gather_facts(tx, query)

    waiting = asyncio.Event()

    class Queue(asyncio.Lock):
        async def acquire(self) -> Literal[True]:
            if self.locked():
                waiting.set()
            return await super().acquire()

    monkeypatch.setattr(ddl, "count_records", counted)
    monkeypatch.setattr(ddl, "gather_facts", gathered)
    monkeypatch.setitem(plan_draft._counting_locks, server.db, Queue())
    deleting = (definition_service.delete_entities(ctx, brand.id, ["thing"], dry_run=True) for _ in range(5))
    loud = [asyncio.ensure_future(one) for one in deleting]
    change = asyncio.ensure_future(definition_service.define_entities(ctx, quiet.id, UNIQUE, dry_run=True))
    await waiting.wait()
    gate.set()
    await asyncio.gather(change, *loud)
    assert order == [brand.id, "quiet", *[brand.id] * 4]


class WithoutTransactions:
    """A database that takes no writes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def __getattr__(self, name: str) -> Any:
        assert name not in ("transaction", "run"), "a write transaction"
        return getattr(self._db, name)


OTHER: dict[str, Any] = {"thing": {"fields": {"other": {"type": "string"}}}}
PLANS: dict[str, Callable[..., Awaitable[Any]]] = {
    "define": lambda ctx, brand_id: definition_service.define_entities(ctx, brand_id, UNIQUE, dry_run=True),
    "refused": lambda ctx, brand_id: definition_service.define_entities(ctx, brand_id, OTHER),
    "delete": lambda ctx, brand_id: definition_service.delete_entities(ctx, brand_id, ["thing"], dry_run=True),
    "list": lambda ctx, brand_id: definition_service.list_entities(ctx, brand_id, PageRequest(), with_total=True),
    "count": lambda ctx, brand_id: definition_service.count_records(ctx, brand_id, Entity("thing", {})),
}


@pytest.mark.parametrize("name", PLANS)
async def test_what_changes_nothing_takes_no_write_transaction(
    server: Server, brand: ActiveBrand, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await definition_service.define_entities(make_context(server), brand.id, {"thing": fields(1)})
    monkeypatch.setattr(server, "db", WithoutTransactions(server.db))
    # Beside one that has the file, or the brand's row, to itself.
    database: Any = server.db
    async with database._db.transaction() as tx:
        await brands.bump_schema_version(tx, brand.id)
        await PLANS[name](make_context(server), brand.id)
