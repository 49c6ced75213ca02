"""GraphQL types of an entity. Contract §5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLString,
)

from keystead.entities.access import FieldAccess
from keystead.entities.fields import KINDS
from keystead.entities.model import Entity, Field
from keystead.entities.names import type_name

FixedTypes = Mapping[str, GraphQLNamedType]

_BUILT_IN = {scalar.name: scalar for scalar in (GraphQLString, GraphQLInt, GraphQLFloat, GraphQLBoolean, GraphQLID)}


class FieldTypes:
    """The fields of records and inputs. Fields with the same type and access share one object (flyweight).

    Otherwise a brand of 250 entities with 100 fields each would have 75,000 of them: most of the build time and memory
    of its schema, and of each run of the garbage collector.
    """

    def __init__(self, fixed: FixedTypes) -> None:
        self.fixed = fixed
        self._outputs: dict[tuple[str, tuple[str, ...] | None], GraphQLField] = {}
        self._inputs: dict[tuple[str, tuple[str, ...] | None, bool], GraphQLInputField] = {}

    def scalar(self, name: str) -> GraphQLScalarType:
        """Return the scalar of this name."""
        return _BUILT_IN.get(name) or cast(GraphQLScalarType, self.fixed[name])

    def output(self, field: Field) -> GraphQLField:
        """Return a field of a record. Always nullable: a record created while a required field was added may lack it,
        and must not be nulled as a whole."""
        key = (KINDS[field.type].graphql, field.read)
        known = self._outputs.get(key)
        if known is None:
            known = self._outputs[key] = GraphQLField(self.scalar(key[0]), extensions=_access(field.read))
        return known

    def input(self, field: Field, *, creating: bool) -> GraphQLInputField:
        """Return a field of an input."""
        is_needed = creating and field.required and field.default is None
        key = (KINDS[field.type].graphql, field.write, is_needed)
        known = self._inputs.get(key)
        if known is None:
            scalar = self.scalar(key[0])
            type_ = GraphQLNonNull(scalar) if is_needed else scalar
            known = self._inputs[key] = GraphQLInputField(type_, extensions=_access(field.write))
        return known


class EntityTypes:
    """The root fields of one entity, each with the types below it."""

    def __init__(self, entity: Entity, types: FieldTypes) -> None:
        self._entity = entity
        self._types = types
        fixed = types.fixed
        record = self._record()
        response = _wrapper(f"{record.name}Response", data=GraphQLNonNull(record))
        page = _wrapper(
            f"{record.name}ListResponse",
            data=GraphQLNonNull(GraphQLList(GraphQLNonNull(record))),
            pagination=GraphQLNonNull(cast(GraphQLObjectType, fixed["Pagination"])),
        )
        identifier = GraphQLNonNull(GraphQLID)
        create, update = self._create_input(record.name), self._update_input(record.name)
        self.list = _field(
            page,
            filter=cast(GraphQLInputObjectType, fixed["FilterInput"]),
            pagination=cast(GraphQLInputObjectType, fixed["PaginationInput"]),
        )
        self.by_id = _field(response, id=identifier)
        self.create = _field(response, input=GraphQLNonNull(create))
        self.update = _field(response, input=GraphQLNonNull(update))
        self.delete = _field(
            cast(GraphQLObjectType, fixed["SuccessResponse"]), ids=GraphQLNonNull(GraphQLList(identifier))
        )

    def _record(self) -> GraphQLObjectType:
        time = self._types.scalar("DateTime")
        fields = {
            "id": GraphQLField(GraphQLNonNull(GraphQLID)),
            "integer_id": GraphQLField(GraphQLNonNull(GraphQLInt)),
            "created_at": GraphQLField(GraphQLNonNull(time)),
            "updated_at": GraphQLField(GraphQLNonNull(time)),
            "created_by": GraphQLField(GraphQLID),
        }
        fields |= {name: self._types.output(field) for name, field in self._entity.fields.items()}
        return GraphQLObjectType(type_name(self._entity.name), fields)

    def _create_input(self, name: str) -> GraphQLInputObjectType:
        inputs = {name: self._types.input(field, creating=True) for name, field in self._entity.fields.items()}
        return GraphQLInputObjectType(f"Create{name}Input", inputs)

    def _update_input(self, name: str) -> GraphQLInputObjectType:
        inputs = {"id": GraphQLInputField(GraphQLNonNull(GraphQLID))}
        inputs |= {name: self._types.input(field, creating=False) for name, field in self._entity.fields.items()}
        return GraphQLInputObjectType(f"Update{name}Input", inputs)


def _access(permissions: tuple[str, ...] | None) -> dict[str, Any]:
    """Hide the field from the introspection of callers who may not use it."""
    return {"access": FieldAccess(permissions)} if permissions else {}


def _wrapper(name: str, **fields: Any) -> GraphQLObjectType:
    return GraphQLObjectType(name, {key: GraphQLField(type_) for key, type_ in fields.items()})


def _field(answer: GraphQLObjectType, **arguments: Any) -> GraphQLField:
    return GraphQLField(answer, {name: GraphQLArgument(type_) for name, type_ in arguments.items()})
