"""Records that are written while their entity is being changed, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

import pytest

from keystead.brands import service as brands
from keystead.context import ActiveBrand, Server
from keystead.db.interface import SchemaChanged, TooManyColumns
from keystead.entities import ddl, definition_service, record_service
from keystead.entities.registry import get_record_type
from keystead.entities.schema_plan import Plan
from keystead.errors import BadUserInput, Conflict
from tests.entities.callers import current
from tests.make import make_context

STRING = {"type": "string"}


async def define(server: Server, brand: ActiveBrand, name: Mapping[str, Any] = STRING) -> Plan:
    return await definition_service.define_entities(
        make_context(server, brand), brand.id, {"thing": {"fields": {"name": name}}}
    )


async def add(server: Server, brand: ActiveBrand, name: str) -> dict[str, Any]:
    now = await current(server, brand)
    kind = await get_record_type(server.db, now, "thing")
    return await record_service.create_record(make_context(server, now), kind, {"name": name})


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, step: str, work: Callable[[], Awaitable[Any]], *, after: int = 1
) -> list[asyncio.Task[Any]]:
    """Starts ``work`` once a definition has asked the records ``after`` times, and leaves it a moment to end if nothing
    holds it up."""
    ask, tasks, calls = getattr(ddl, step), list[asyncio.Task[Any]](), count(1)

    async def asked(*arguments: Any) -> Any:
        answer = await ask(*arguments)
        if next(calls) != after:
            return answer
        tasks.append(asyncio.ensure_future(work()))
        await asyncio.wait(tasks, timeout=0.2)
        return answer

    monkeypatch.setattr(ddl, step, asked)
    return tasks


async def test_a_record_made_meanwhile_is_held_to_the_new_rule(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(server, brand)
    await add(server, brand, "Ann")
    # Asked for the plan, and again in the transaction that carries it out.
    tasks = meanwhile(monkeypatch, "gather_facts", lambda: add(server, brand, "Ann"), after=2)
    assert (await define(server, brand, STRING | {"unique": True})).applied
    with pytest.raises(Conflict):
        await tasks[0]


async def test_a_record_made_after_the_plan_refuses_it(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(server, brand)
    await add(server, brand, "Ann")
    tasks = meanwhile(monkeypatch, "gather_facts", lambda: add(server, brand, "Ann"))
    plan = await define(server, brand, STRING | {"unique": True})
    await tasks[0]
    assert "not unique" in (plan.steps[0].refused or "")
    assert not plan.applied
    assert (await current(server, brand)).schema_version == plan.schema_version == brand.schema_version + 1


async def test_entities_that_change_after_the_plan_are_planned_for_again(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(server, brand)

    async def another_process() -> None:
        async with server.db.transaction() as tx:
            await brands.bump_schema_version(tx, brand.id)

    tasks = meanwhile(monkeypatch, "gather_facts", another_process)
    plan = await define(server, brand, STRING | {"unique": True})
    await tasks[0]
    assert (plan.applied, plan.schema_version) == (True, brand.schema_version + 3)


async def test_a_record_made_meanwhile_is_not_lost_with_its_entity(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(server, brand)
    tasks = meanwhile(monkeypatch, "has_records", lambda: add(server, brand, "Ann"))
    await definition_service.delete_entities(make_context(server, brand), brand.id, ["thing"])
    with pytest.raises(SchemaChanged):
        await tasks[0]


async def test_a_table_that_has_had_all_its_columns_is_bad_input(
    server: Server, brand: ActiveBrand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_room(*_: Any) -> None:
        raise TooManyColumns(cause="54011")

    monkeypatch.setattr(ddl, "apply_changes", no_room)
    with pytest.raises(BadUserInput, match="Define another entity") as caught:
        await define(server, brand)
    assert caught.value.extensions == {"field": "definition"}
