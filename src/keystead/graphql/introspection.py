"""Introspection: what a caller may use of a schema, as plain dicts that the plan reads like any resolver's answer.

The dicts of one (schema version, permission set) are made once and refer to each other, cycles included, so a question
costs as much as its answer. The fixed part is always in them; of what entities add only that which the caller may use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLType,
    TypeKind,
    get_named_type,
    introspection_types,
    is_non_null_type,
    is_wrapping_type,
    print_ast,
    specified_directives,
)
from graphql.utilities import get_default_value_ast

from keystead.context import ApiKeyPrincipal, Context, UserPrincipal
from keystead.errors import Unauthenticated
from keystead.graphql.access import Access, Permission, admits
from keystead.graphql.schema import ROOT_TYPES, SchemaVersion
from keystead.graphql.selection import Selection
from keystead.permissions import ADMIN, PermissionSet

Node = dict[str, Any]
MAX_CATALOGUES = 16


class IntrospectionAccess:
    """Who may ask about the schema: as ``KEYSTEAD_INTROSPECTION`` says. ``__typename`` is never asked about."""

    def check(self, ctx: Context) -> None:
        """Admit whom the setting admits.

        :raises Unauthenticated: for a caller without a credential of a user or an API key.
        :raises Forbidden: when the setting wants ``admin``.
        """
        setting = ctx.server.settings.introspection
        if setting == "public":
            return
        if not isinstance(ctx.principal, (UserPrincipal, ApiKeyPrincipal)):
            raise Unauthenticated("Introspection needs an access token or an API key on this server.")
        if setting != "authenticated":
            Permission(ADMIN).check(ctx)


class Catalogue:
    """A schema as introspection shows it to one kind of caller."""

    def __init__(self, version: SchemaVersion, ctx: Context) -> None:
        self._version = version
        self._ctx = ctx
        self.types: dict[str, Node] = {}
        visible = self._reachable()
        for name, type_ in version.schema.type_map.items():
            if name in visible or name in introspection_types:
                self.types[name] = {"kind": _kind(type_), "name": name}
        for name, node in self.types.items():
            self._fill(node, version.schema.type_map[name])
        self.schema: Node = {
            "types": list(self.types.values()),
            "queryType": self.types.get("Query"),
            "mutationType": self.types.get("Mutation"),
            "directives": [
                {
                    "name": directive.name,
                    "description": directive.description,
                    "isRepeatable": directive.is_repeatable,
                    "locations": list(directive.locations),
                    "args": self._inputs(directive.args),
                    "isDeprecated": False,
                }
                for directive in specified_directives
            ],
        }
        del self._ctx

    def _reachable(self) -> set[str]:
        """The types in use by the fields that the caller may use."""
        found = {"Boolean", "String", "Int"}  # of the directives and of introspection itself
        types = self._version.schema.type_map
        pending: list[GraphQLNamedType] = [types[name] for name in ROOT_TYPES if name in types]
        while pending:
            type_ = pending.pop()
            if type_.name in found and type_.name not in ("Boolean", "String", "Int"):
                continue
            found.add(type_.name)
            pending.extend(one for one in self._below(type_) if one.name not in found)
        return found

    def _below(self, type_: GraphQLNamedType) -> Iterator[GraphQLNamedType]:
        if isinstance(type_, GraphQLObjectType):
            for _, field in self._fields(type_):
                yield get_named_type(field.type)
                for argument in field.args.values():
                    yield get_named_type(argument.type)
        elif isinstance(type_, GraphQLInputObjectType):
            for _, member in self._members(type_.fields):
                yield get_named_type(member.type)

    def _fields(self, type_: GraphQLObjectType) -> Iterator[tuple[str, GraphQLField]]:
        for name, field in type_.fields.items():
            if type_.name in ROOT_TYPES:
                entry = self._version.fields.get((type_.name, name))
                if entry is not None and not entry.is_fixed and not admits(entry.access, self._ctx):
                    continue
            elif not self._shows(field):
                continue
            yield name, field

    def _members(
        self, members: Mapping[str, GraphQLArgument] | Mapping[str, GraphQLInputField]
    ) -> Iterator[tuple[str, GraphQLArgument | GraphQLInputField]]:
        return ((name, member) for name, member in members.items() if self._shows(member))

    def _shows(self, part: GraphQLField | GraphQLArgument | GraphQLInputField) -> bool:
        access: Access | None = part.extensions.get("access")
        return access is None or admits(access, self._ctx)

    def _fill(self, node: Node, type_: GraphQLNamedType) -> None:
        node["description"] = type_.description
        if isinstance(type_, GraphQLScalarType):
            node["specifiedByURL"] = type_.specified_by_url
        elif isinstance(type_, GraphQLEnumType):
            node["enumValues"] = [
                {"name": name, "description": value.description, "isDeprecated": False}
                for name, value in type_.values.items()
            ]
        elif isinstance(type_, GraphQLInputObjectType):
            node["inputFields"] = self._inputs(type_.fields)
            node["isOneOf"] = type_.is_one_of
        elif isinstance(type_, GraphQLObjectType):
            node["interfaces"] = []
            node["fields"] = [
                {
                    "name": name,
                    "description": field.description,
                    "args": self._inputs(field.args),
                    "type": self._type(field.type),
                    "isDeprecated": False,
                }
                for name, field in self._fields(type_)
            ]

    def _inputs(self, members: Mapping[str, GraphQLArgument] | Mapping[str, GraphQLInputField]) -> list[Node]:
        return [
            {
                "name": name,
                "description": member.description,
                "type": self._type(member.type),
                "defaultValue": print_ast(default) if (default := get_default_value_ast(member)) else None,
                "isDeprecated": False,
            }
            for name, member in self._members(members)
        ]

    def _type(self, type_: GraphQLType) -> Node:
        if is_wrapping_type(type_):
            kind = TypeKind.NON_NULL if is_non_null_type(type_) else TypeKind.LIST
            return {"kind": kind, "ofType": self._type(type_.of_type)}
        return self.types[get_named_type(type_).name]


def _kind(type_: GraphQLNamedType) -> TypeKind:
    if isinstance(type_, GraphQLObjectType):
        return TypeKind.OBJECT
    if isinstance(type_, GraphQLInputObjectType):
        return TypeKind.INPUT_OBJECT
    return TypeKind.ENUM if isinstance(type_, GraphQLEnumType) else TypeKind.SCALAR


class Introspector:
    """Answers ``__schema`` and ``__type``; keeps the catalogues most recently asked for."""

    def __init__(self, size: int = MAX_CATALOGUES) -> None:
        self._size = size
        self._catalogues: OrderedDict[tuple[int, type, PermissionSet], Catalogue] = OrderedDict()

    def catalogue(self, version: SchemaVersion, ctx: Context) -> Catalogue:
        """What the caller may use of a schema."""
        key = (version.serial, type(ctx.principal), ctx.principal.permissions)
        found = self._catalogues.get(key)
        if found is None:
            found = self._catalogues[key] = Catalogue(version, ctx)
            if len(self._catalogues) > self._size:
                self._catalogues.popitem(last=False)
        self._catalogues.move_to_end(key)
        return found

    def forget(self, version: SchemaVersion) -> None:
        """Drop the catalogues of a schema version that nobody asks for any more."""
        for key in [key for key in self._catalogues if key[0] == version.serial]:
            del self._catalogues[key]

    async def schema(self, version: SchemaVersion, ctx: Context) -> Node:
        """The answer to ``__schema``."""
        return self.catalogue(version, ctx).schema

    async def type(self, version: SchemaVersion, ctx: Context, name: str) -> Node | None:
        """The answer to ``__type``; None for a type that the caller may not see."""
        return self.catalogue(version, ctx).types.get(name)


INTROSPECTOR = Introspector()


async def resolve_schema(version: SchemaVersion, ctx: Context, _args: dict[str, Any], _selection: Selection) -> Node:
    """The resolver of ``__schema``, once a plan has bound it to its schema version."""
    return await INTROSPECTOR.schema(version, ctx)


async def resolve_type(
    version: SchemaVersion, ctx: Context, args: dict[str, Any], _selection: Selection
) -> Node | None:
    """The resolver of ``__type``, once a plan has bound it to its schema version."""
    return await INTROSPECTOR.type(version, ctx, args["name"])
