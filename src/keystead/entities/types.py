"""The GraphQL types of one entity: what it adds to its brand's schema. Contract §5."""

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


class EntityTypes:
    """The root fields of one entity, each with the types below it."""

    def __init__(self, entity: Entity, fixed: FixedTypes) -> None:
        self._entity = entity
        self._fixed = fixed
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
        time = self._scalar("DateTime")
        fields = {
            "id": GraphQLField(GraphQLNonNull(GraphQLID)),
            "integer_id": GraphQLField(GraphQLNonNull(GraphQLInt)),
            "created_at": GraphQLField(GraphQLNonNull(time)),
            "updated_at": GraphQLField(GraphQLNonNull(time)),
            "created_by": GraphQLField(GraphQLID),
        }
        # Nullable, required or not: a record made while a field was being added may lack it, and must not fail whole.
        for name, field in self._entity.fields.items():
            fields[name] = GraphQLField(self._scalar(KINDS[field.type].graphql), extensions=_access(field.read))
        return GraphQLObjectType(type_name(self._entity.name), fields)

    def _create_input(self, name: str) -> GraphQLInputObjectType:
        return GraphQLInputObjectType(
            f"Create{name}Input",
            {name: self._input(field, creating=True) for name, field in self._entity.fields.items()},
        )

    def _update_input(self, name: str) -> GraphQLInputObjectType:
        fields = {"id": GraphQLInputField(GraphQLNonNull(GraphQLID))}
        fields |= {name: self._input(field, creating=False) for name, field in self._entity.fields.items()}
        return GraphQLInputObjectType(f"Update{name}Input", fields)

    def _input(self, field: Field, *, creating: bool) -> GraphQLInputField:
        scalar = self._scalar(KINDS[field.type].graphql)
        is_needed = creating and field.required and field.default is None
        return GraphQLInputField(GraphQLNonNull(scalar) if is_needed else scalar, extensions=_access(field.write))

    def _scalar(self, name: str) -> GraphQLScalarType:
        return _BUILT_IN.get(name) or cast(GraphQLScalarType, self._fixed[name])


def _access(permissions: tuple[str, ...] | None) -> dict[str, Any]:
    """What hides a field from the introspection of those who may not use it."""
    return {"access": FieldAccess(permissions)} if permissions else {}


def _wrapper(name: str, **fields: Any) -> GraphQLObjectType:
    return GraphQLObjectType(name, {key: GraphQLField(type_) for key, type_ in fields.items()})


def _field(answer: GraphQLObjectType, **arguments: Any) -> GraphQLField:
    return GraphQLField(answer, {name: GraphQLArgument(type_) for name, type_ in arguments.items()})
