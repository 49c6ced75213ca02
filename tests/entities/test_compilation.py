"""What an entity compiles to: never while a transaction is open, and once however many requests wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from keystead.compiler import MOST_WAITING, Coalescer, Compiler
from keystead.context import ActiveBrand, Context, Server
from keystead.db.interface import Tx
from keystead.entities import definition_service, record_service, records
from keystead.entities.registry import RecordType, get_record_type
from keystead.errors import ServerBusy
from keystead.pagination import PageRequest
from tests.entities.callers import current, key
from tests.entities.test_graphql import Door
from tests.make import make_context, make_entity

NAMES = frozenset(("id", "name"))

Act = Callable[[Context, RecordType, str], Awaitable[Any]]

ACTS: dict[str, Act] = {
    "create": lambda ctx, kind, _: record_service.create_record(ctx, kind, {"name": "Ben"}, NAMES),
    "update": lambda ctx, kind, id_: record_service.update_record(ctx, kind, id_, {"name": "Ben"}, NAMES),
    "delete": lambda ctx, kind, id_: record_service.delete_records(ctx, kind, [id_]),
    "find": lambda ctx, kind, id_: record_service.find_record(ctx, kind, id_, NAMES),
    "list": lambda ctx, kind, _: record_service.list_records(ctx, kind, PageRequest(), NAMES, with_total=True),
    "define": lambda ctx, kind, _: definition_service.define_entities(
        ctx, kind.brand_id, {"customer": {"fields": {"other": {"type": "string"}}}}, allow_data_loss=True
    ),
    "drop": lambda ctx, kind, _: definition_service.delete_entities(
        ctx, kind.brand_id, [kind.name], allow_data_loss=True
    ),
}


@pytest.fixture
async def brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    return await make_entity(server, brand)


@pytest.mark.parametrize("name", ACTS)
async def test_nothing_is_compiled_while_a_transaction_is_open(
    server: Server, brand: ActiveBrand, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = key(server, brand, "admin")
    made = await record_service.create_record(
        ctx, await get_record_type(server.db, brand, "customer"), {"name": "Ann"}, NAMES
    )
    cold = RecordType(brand.id, (await get_record_type(server.db, brand, "customer")).entity, server.db.dialect)
    begin, run, is_open, jobs = server.db.transaction, Compiler.run, list[str](), list[str]()

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Tx]:
        async with begin() as tx:
            is_open.append(name)
            try:
                yield tx
            finally:
                is_open.pop()

    async def compiled(self: Compiler, *arguments: Any) -> Any:
        assert not is_open, "a compilation is awaited inside a transaction"
        jobs.append(name)
        return await run(self, *arguments)

    monkeypatch.setattr(server.db, "transaction", transaction)
    monkeypatch.setattr(Compiler, "run", compiled)
    await ACTS[name](ctx, cold, str(made["id"]))
    assert jobs or name == "drop"


async def test_after_a_change_many_requests_wait_for_one_build(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than may wait for the compiler: each step on the way to the records is shared."""
    door, ctx, jobs, run = Door(server), key(server, brand, "admin"), list[str](), Compiler.run
    fields = {name: {"type": "string"} for name in ("name", "other")}
    await definition_service.define_entities(
        make_context(server), brand.id, {"customer": {"fields": fields}}, allow_data_loss=True
    )
    now = await current(server, brand)

    async def counted(self: Compiler, of: str, work: Callable[[], Any]) -> Any:
        jobs.append(of)
        return await run(self, of, work)

    monkeypatch.setattr(Compiler, "run", counted)
    text = "{ customerList { data { id other } } }"
    answers = await asyncio.gather(*(door.ask(ctx, text) for _ in range(200)))
    assert [answer for answer in answers if answer != {"data": {"customerList": {"data": []}}}] == []
    assert len(jobs) <= 5  # the entities, their types, the schema, the table, the statement
    kind = await get_record_type(server.db, now, "customer")
    jobs.clear()
    made = await asyncio.gather(*(record_service.create_record(ctx, kind, {"name": f"{n}"}, NAMES) for n in range(200)))
    assert len({record["id"] for record in made}) == 200
    assert len(jobs) == 2  # the checks, the statement


async def test_schemas_do_not_wait_for_long_texts(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as may wait: the brand's own schema work has its turn, and so do its short texts."""
    ctx, gate = key(server, brand, "admin"), threading.Event()
    pattern = {"type": "text", "max_length": 60_000, "pattern": "[ab]*a[ab]{30}c|.*"}
    await definition_service.define_entities(make_context(server), brand.id, {"note": {"fields": {"t": pattern}}})
    now = await current(server, brand)
    kind = await get_record_type(server.db, now, "note")
    await kind.check({"t": "short"})

    def slow(text: Any) -> Any:
        if len(text) > 100:
            gate.wait(20)
        return text

    monkeypatch.setitem(kind.__dict__, "checks", {"t": slow})
    long = [asyncio.ensure_future(kind.check({"t": "a" * 60_000})) for _ in range(80)]
    await asyncio.sleep(0)
    try:
        assert await kind.check({"t": "short"}) == {"t": "short"}
        await record_service.create_record(ctx, kind, {"t": "short"}, NAMES - {"name"})
        plan = await definition_service.define_entities(
            make_context(server), brand.id, {"memo": {"fields": {"t": {"type": "string"}}}}
        )
        assert plan.applied
    finally:
        gate.set()
        refused = [one for one in await asyncio.gather(*long, return_exceptions=True) if isinstance(one, ServerBusy)]
    assert len(refused) == 80 - 1 - MOST_WAITING


async def test_the_oldest_statement_makes_room(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_STATEMENTS", 2)
    kept = (await get_record_type(server.db, brand, "customer")).records
    for names in ({"id"}, {"name"}, {"email"}):
        await kept.prepare_insert(frozenset(names))
    assert list(kept._statements) == [("insert", frozenset(("name",))), ("insert", frozenset(("email",)))]


async def test_callers_share_work_and_its_failure_and_the_next_one_starts_it_again() -> None:
    shared, started, gate = Coalescer[int](), list[int](), asyncio.Event()

    async def work() -> int:
        started.append(len(started))
        await gate.wait()
        if started == [0]:
            raise ValueError("failed")
        return 7

    first, second, gone = (asyncio.ensure_future(shared.run("key", work)) for _ in range(3))
    await asyncio.sleep(0)
    gone.cancel()
    gate.set()
    assert [type(one) for one in await asyncio.gather(first, second, return_exceptions=True)] == [ValueError] * 2
    assert await shared.run("key", work) == 7
    assert started == [0, 1]
