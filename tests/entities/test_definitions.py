"""Definitions applied to a database: registry, tables, version and audit change together, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from keystead.audit import service as audit
from keystead.context import ActiveBrand, Server
from keystead.entities import definition_service, record_service
from keystead.entities.registry import RecordType, get_record_type, record_types
from keystead.entities.schema_plan import Plan
from keystead.errors import BadUserInput, NotFound
from keystead.pagination import PageRequest
from tests.entities.callers import current
from tests.make import CUSTOMER, make_brand, make_context, make_entity

TEXT: dict[str, Any] = {"type": "text"}
STRING: dict[str, Any] = {"type": "string"}
LONG = STRING | {"max_length": 10_000}


async def define(server: Server, brand: ActiveBrand, name: str = "thing", /, **choices: Any) -> Plan:
    options = {key: choices.pop(key) for key in ("dry_run", "allow_data_loss") if key in choices}
    definition = {name: {"fields": choices}}
    return await definition_service.define_entities(make_context(server, brand), brand.id, definition, **options)


async def kind_of(server: Server, brand: ActiveBrand, name: str = "thing") -> RecordType:
    return await get_record_type(server.db, await current(server, brand), name)


async def add(server: Server, brand: ActiveBrand, **values: Any) -> dict[str, Any]:
    kind = await kind_of(server, brand)
    return await record_service.create_record(
        make_context(server, brand), kind, values, frozenset(("id", *kind.entity.fields))
    )


async def rows(server: Server, brand: ActiveBrand, *names: str) -> list[dict[str, Any]]:
    kind = await kind_of(server, brand)
    context = make_context(server, brand)
    return list((await record_service.list_records(context, kind, PageRequest(), frozenset(names))).items)


async def test_a_definition_makes_an_entity(server: Server, brand: ActiveBrand) -> None:
    plan = await define(server, brand, "customer", **CUSTOMER)
    after = await current(server, brand)
    assert plan.applied
    assert plan.schema_version == after.schema_version == brand.schema_version + 1
    assert list(await record_types(server.db, after)) == ["customer"]
    events = await audit.list_events(make_context(server, after), brand.id, PageRequest())
    details = [event.details for event in events.items if event.event == "entity.defined"]
    assert details == [{"steps": [{"entity": "customer", "action": "create_entity"}]}]


async def test_a_dry_run_and_the_same_again_change_nothing(server: Server, brand: ActiveBrand) -> None:
    plan = await define(server, brand, name=TEXT, dry_run=True)
    assert not plan.applied
    assert [step.action.value for step in plan.steps] == ["create_entity"]
    assert await record_types(server.db, await current(server, brand)) == {}
    assert (await current(server, brand)).schema_version == plan.schema_version == brand.schema_version
    first = await define(server, brand, name=TEXT)
    assert await define(server, brand, name=TEXT) == Plan((), first.schema_version, applied=True)


async def test_a_field_is_added_with_its_default(server: Server, brand: ActiveBrand) -> None:
    await define(server, brand, name=TEXT)
    await add(server, brand, name="a")
    plan = await define(server, brand, name=TEXT, size={"type": "decimal", "default": "1.50", "indexed": True})
    assert plan.applied
    assert plan.steps[0].rows_affected == 1
    assert await rows(server, brand, "name", "size") == [{"name": "a", "size": "1.50"}]


async def test_a_required_field_without_default_needs_an_empty_table(server: Server, brand: ActiveBrand) -> None:
    await define(server, brand, name=TEXT)
    assert (await define(server, brand, name=TEXT, one={**TEXT, "required": True})).applied
    await add(server, brand, name="a", one="b")
    plan = await define(server, brand, name=TEXT, one={**TEXT, "required": True}, two={**TEXT, "required": True})
    assert not plan.applied
    assert "default" in (plan.steps[0].refused or "")
    assert "two" not in (await kind_of(server, brand)).entity.fields


async def test_a_missing_field_is_dropped_only_when_loss_is_allowed(server: Server, brand: ActiveBrand) -> None:
    await define(server, brand, name=TEXT, code={**STRING, "unique": True})
    await add(server, brand, name="a", code="1")
    refused = await define(server, brand, name=TEXT)
    assert not refused.applied
    assert (refused.steps[0].rows_affected, refused.steps[0].loses_data) == (1, True)
    assert await rows(server, brand, "name", "code") == [{"name": "a", "code": "1"}]
    assert (await define(server, brand, name=TEXT, allow_data_loss=True)).applied
    assert await rows(server, brand, "name") == [{"name": "a"}]
    # The same name starts empty: no old values are left.
    await define(server, brand, name=TEXT, code={"type": "integer"})
    assert await rows(server, brand, "code") == [{"code": None}]


async def test_one_refused_step_refuses_them_all(server: Server, brand: ActiveBrand) -> None:
    await define(server, brand, name=TEXT)
    plan = await define(server, brand, size={"type": "integer"})
    assert not plan.applied
    assert list((await kind_of(server, brand)).entity.fields) == ["name"]
    assert (await current(server, brand)).schema_version == plan.schema_version


@pytest.mark.parametrize("type_name", ["string", "decimal", "integer", "datetime"])
async def test_a_unique_rule_needs_unique_values(server: Server, brand: ActiveBrand, type_name: str) -> None:
    one, same, other = {
        "string": ("a", "a", "b"),
        "decimal": ("1.5", "1.50", "1.51"),
        "integer": (1, 1, 2),
        "datetime": ("2024-01-01T00:00:00Z", "2024-01-01T02:00:00+02:00", "2024-01-01T00:00:01Z"),
    }[type_name]
    await define(server, brand, it={"type": type_name})
    await add(server, brand, it=one)
    second = await add(server, brand, it=same)
    await add(server, brand, it=None)
    await add(server, brand, it=None)
    refused = await define(server, brand, it={"type": type_name, "unique": True})
    assert "unique" in (refused.steps[0].refused or "")
    context = make_context(server, brand)
    await record_service.update_record(context, await kind_of(server, brand), second["id"], {"it": other})
    assert (await define(server, brand, it={"type": type_name, "unique": True})).applied
    with pytest.raises(BadUserInput) as taken:
        await add(server, brand, it=same)
    assert (taken.value.code, taken.value.extensions["field"]) == ("CONFLICT", "it")
    # And back: the rule goes, the values stay.
    assert (await define(server, brand, it={"type": type_name, "indexed": True})).applied
    await add(server, brand, it=same)


async def test_becoming_required_fills_the_gaps_with_the_default(server: Server, brand: ActiveBrand) -> None:
    await define(server, brand, name=TEXT)
    await add(server, brand, name=None)
    assert not (await define(server, brand, name={**TEXT, "required": True})).applied
    plan = await define(server, brand, name={**TEXT, "required": True, "default": "unknown"})
    assert (plan.applied, plan.steps[0].rows_affected) == (True, 1)
    assert await rows(server, brand, "name") == [{"name": "unknown"}]


@pytest.mark.parametrize(
    ("old", "value", "good", "bad", "reason"),
    [
        (
            {"type": "enum", "values": ["a", "b", "c"]},
            "b",
            {"type": "enum", "values": ["a", "b"]},
            {"type": "enum", "values": ["a"]},
            "1",
        ),
        (LONG, "x" * 501, LONG, STRING | {"indexed": True}, ""),
    ],
    ids=["enum value in use", "text too long for an index"],
)
async def test_stored_values_refuse_a_rule_that_they_break(
    server: Server, brand: ActiveBrand, old: Any, value: str, good: Any, bad: Any, reason: str
) -> None:
    await define(server, brand, it=old)
    await add(server, brand, it=value)
    assert (await define(server, brand, it=good)).applied
    refused = await define(server, brand, it=bad)
    assert not refused.applied
    assert reason in (refused.steps[0].refused or "")


async def test_relations_are_refused_by_name(server: Server, brand: ActiveBrand) -> None:
    definition = {"order": {"fields": {"a": TEXT}, "relations": {"customer": {"to": "customer"}}}}
    with pytest.raises(BadUserInput, match="not supported yet") as refused:
        await definition_service.define_entities(make_context(server, brand), brand.id, definition)
    assert refused.value.extensions["field"] == "order.relations.customer"


async def test_brands_have_their_own(server: Server, brand: ActiveBrand) -> None:
    other = await make_brand(server, "other")
    await define(server, brand, name={**STRING, "unique": True})
    await define(server, other, name={**STRING, "unique": True})
    await add(server, brand, name="a")
    await add(server, other, name="a")
    await definition_service.delete_entities(make_context(server, brand), brand.id, ["thing"], allow_data_loss=True)
    assert await rows(server, other, "name") == [{"name": "a"}]


async def test_concurrent_definitions_take_turns_and_equal_ones_are_applied_once(
    server: Server, brand: ActiveBrand
) -> None:
    plans = await asyncio.gather(*(define(server, brand, f"thing{n}", name=TEXT) for n in range(5)))
    assert sorted(plan.schema_version for plan in plans) == [brand.schema_version + n for n in range(1, 6)]
    assert len(await record_types(server.db, await current(server, brand))) == 5
    same = await asyncio.gather(*(define(server, brand, name=TEXT) for _ in range(4)))
    assert all(plan.applied for plan in same)
    assert sorted(len(plan.steps) for plan in same) == [0, 0, 0, 1]


async def test_an_entity_with_records_is_deleted_only_when_loss_is_allowed(server: Server, brand: ActiveBrand) -> None:
    context = make_context(server, brand)
    await define(server, brand, name=TEXT)
    await define(server, brand, "empty", name=TEXT)
    await add(server, brand, name="a")
    with pytest.raises(BadUserInput) as refused:
        await definition_service.delete_entities(context, brand.id, ["empty", "thing"])
    assert refused.value.extensions["field"] == "allow_data_loss"
    with pytest.raises(NotFound):
        await definition_service.delete_entities(context, brand.id, ["empty", "nothing"])
    assert len(await record_types(server.db, await current(server, brand))) == 2
    await definition_service.delete_entities(context, brand.id, ["empty", "empty"])
    await definition_service.delete_entities(context, brand.id, ["thing"], allow_data_loss=True)
    assert await record_types(server.db, await current(server, brand)) == {}


async def test_entities_are_listed_by_name(server: Server, brand: ActiveBrand) -> None:
    for name in ("b", "a", "c"):
        await define(server, brand, name, name=TEXT)
    context = make_context(server, brand)
    page = await definition_service.list_entities(context, brand.id, PageRequest(1, 2), with_total=True)
    assert [stored.entity.name for stored in page.items] == ["a", "b"]
    assert (page.total, page.has_more_pages) == (3, True)
    assert await definition_service.count_records(context, brand.id, page.items[0].entity) == 0


async def test_an_older_version_is_still_the_older_one(server: Server, brand: ActiveBrand) -> None:
    """Requests that were authenticated before a change go on with the entities that they began with."""
    before = await make_entity(server, brand)
    assert list(await record_types(server.db, before)) == ["customer"]
    after = await make_entity(server, before, "order", {"a": TEXT})
    assert list(await record_types(server.db, before)) == ["customer"]
    assert sorted(await record_types(server.db, after)) == ["customer", "order"]


async def test_of_one_brand_the_newest_two_versions_are_kept(server: Server, brand: ActiveBrand) -> None:
    versions = [await make_entity(server, brand, name, {"a": TEXT}) for name in ("a", "b", "c")]
    first, second, third = [(await record_types(server.db, version))["a"] for version in versions]
    assert (await record_types(server.db, versions[1]))["a"] is second
    assert (await record_types(server.db, versions[2]))["a"] is third
    assert (await record_types(server.db, versions[0]))["a"] is not first


async def test_an_unknown_brand_is_not_found(server: Server, brand: ActiveBrand) -> None:
    nowhere = replace(brand, id="01900000-0000-7000-8000-0000000000ff")
    with pytest.raises(NotFound):
        await define(server, nowhere, name=TEXT)
