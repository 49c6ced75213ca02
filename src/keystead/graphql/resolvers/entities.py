"""Entities in GraphQL: their definitions, and the operations of each entity. Contract §5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keystead.compiler import COMPILER
from keystead.context import ActiveBrand, Context
from keystead.db.interface import Database
from keystead.entities import definition_service, record_service
from keystead.entities.model import StoredEntity
from keystead.entities.names import type_name
from keystead.entities.registry import RecordType, record_types
from keystead.entities.schema_plan import Plan
from keystead.entities.types import EntityTypes, FieldTypes
from keystead.graphql.executor.selection import Selection
from keystead.graphql.resolvers import refuse_filter, require_brand, resolver
from keystead.graphql.schema import EntityField, FixedSchema
from keystead.pagination import PageRequest, needs_total

Arguments = dict[str, Any]

_NO_NAMES: frozenset[str] = frozenset()


@resolver("Query.entityList")
async def entity_list(ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
    """One page of the brand's entities, by name; records are counted only if selected."""
    request = PageRequest.parse(arguments.get("pagination"))
    brand_id = require_brand(ctx).id
    page = await definition_service.list_entities(ctx, brand_id, request, with_total=needs_total(selection))
    shown = [_shown_entity(stored) for stored in page.items]
    if selection.wants("data.record_count"):
        for stored, entity in zip(page.items, shown, strict=True):
            entity["record_count"] = await definition_service.count_records(ctx, brand_id, stored.entity)
    return {"data": shown, "pagination": page.pagination()}


@resolver("Mutation.defineEntity")
async def define_entity(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Define entities; returns the plan, applied or with the reasons for its rejection."""
    plan = await definition_service.define_entities(
        ctx,
        require_brand(ctx).id,
        arguments["definition"],
        dry_run=bool(arguments.get("dry_run")),
        allow_data_loss=bool(arguments.get("allow_data_loss")),
    )
    return {"data": _shown_plan(plan)}


@resolver("Mutation.deleteEntity")
async def delete_entity(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Delete entities, all or none."""
    is_dry = bool(arguments.get("dry_run"))
    deletions = await definition_service.delete_entities(
        ctx,
        require_brand(ctx).id,
        arguments["names"],
        dry_run=is_dry,
        allow_data_loss=bool(arguments.get("allow_data_loss")),
    )
    steps = [{"entity": one.entity, "records": one.records, **one.grants.counts()} for one in deletions]
    return {"data": {"success": not is_dry, "steps": steps}}


def _shown_entity(stored: StoredEntity) -> dict[str, Any]:
    return {
        "name": stored.entity.name,
        "definition": stored.entity.as_definition(),
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }


def _shown_plan(plan: Plan) -> dict[str, Any]:
    steps = [
        {
            "entity": step.entity,
            "field": step.field,
            "action": step.action.value,
            "rows_affected": step.rows_affected,
            "loses_data": step.loses_data,
            "refused": step.refused,
        }
        for step in plan.steps
    ]
    return {"applied": plan.applied, "schema_version": plan.schema_version, "steps": steps}


async def load_entity_fields(db: Database, fixed: FixedSchema, brand: ActiveBrand) -> list[EntityField]:
    """Return the root fields of the brand's entities, at the schema version of ``brand``."""
    kinds = await record_types(db, brand)

    def add_types() -> list[EntityField]:
        shared = FieldTypes(fixed.types)
        return [field for kind in kinds.values() for field in _entity_fields(kind, shared)]

    return await COMPILER.run(brand.id, add_types)


def _entity_fields(kind: RecordType, shared: FieldTypes) -> Iterator[EntityField]:
    types, operations, access = EntityTypes(kind.entity, shared), _Operations(kind), kind.access
    pascal = type_name(kind.name)
    yield EntityField("Query", f"{kind.name}List", types.list, access.read, operations.list)
    yield EntityField("Query", f"{kind.name}ById", types.by_id, access.read, operations.by_id)
    yield EntityField("Mutation", f"create{pascal}", types.create, access.create, operations.create)
    yield EntityField("Mutation", f"update{pascal}", types.update, access.update, operations.update)
    yield EntityField("Mutation", f"delete{pascal}", types.delete, access.delete, operations.delete)


class _Operations:
    """The resolvers of one entity."""

    def __init__(self, kind: RecordType) -> None:
        self._kind = kind

    async def list(self, ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
        refuse_filter(arguments)
        request = PageRequest.parse(arguments.get("pagination"))
        page = await record_service.list_records(
            ctx, self._kind, request, _selected(selection), with_total=needs_total(selection)
        )
        return {"data": page.items, "pagination": page.pagination()}

    async def by_id(self, ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any] | None:
        record = await record_service.find_record(ctx, self._kind, arguments["id"], _selected(selection))
        return None if record is None else {"data": record}

    async def create(self, ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
        return {"data": await record_service.create_record(ctx, self._kind, arguments["input"], _selected(selection))}

    async def update(self, ctx: Context, arguments: Arguments, selection: Selection) -> dict[str, Any]:
        changes = dict(arguments["input"])
        record_id = changes.pop("id")
        return {"data": await record_service.update_record(ctx, self._kind, record_id, changes, _selected(selection))}

    async def delete(self, ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
        await record_service.delete_records(ctx, self._kind, arguments["ids"])
        return {"data": {"success": True}}


def _selected(selection: Selection) -> frozenset[str]:
    """The selected fields of the record."""
    data = selection.child("data")
    return data.names if data is not None else _NO_NAMES
