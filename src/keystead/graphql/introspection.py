"""Introspection: the part of a schema that a caller may use, as plain dicts which plans read like a resolver's result.

The dicts of one (schema version, permission set) are built once and refer to each other, also in cycles, so the cost of
a query is that of its answer. They hold the whole fixed schema, and of the entities what the caller may use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Lock
from typing import Any

import msgspec
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

from keystead.compiler import COMPILER, Coalescer
from keystead.context import ApiKeyPrincipal, Context, UserPrincipal
from keystead.errors import Unauthenticated
from keystead.graphql.access import Access, Permission, admits
from keystead.graphql.schema import ROOT_TYPES, SchemaVersion
from keystead.permissions import ADMIN, PermissionSet

Node = dict[str, Any]
MAX_CATALOGUES = 16
MAX_ANSWER_BYTES = 8 * 1024 * 1024
_OVERHEAD = 4096
"""Bytes of a cached answer's key: a digest, a type name and a permission set."""


class IntrospectionAccess:
    """Access to ``__schema`` and ``__type``, by the setting ``KEYSTEAD_INTROSPECTION``."""

    def check(self, ctx: Context) -> None:
        """Admit the callers that the setting names.

        :raises Unauthenticated: without an access token or an API key.
        :raises Forbidden: when the setting requires ``admin``.
        """
        setting = ctx.server.settings.introspection
        if setting == "public":
            return
        if not isinstance(ctx.principal, (UserPrincipal, ApiKeyPrincipal)):
            raise Unauthenticated("Introspection needs an access token or an API key on this server.")
        if setting != "authenticated":
            Permission(ADMIN).check(ctx)


class Catalogue:
    """The introspection of a schema for one kind of caller."""

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
        """Return the types that the caller's fields refer to."""
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
    """Answers ``__schema`` and ``__type``, with LRU caches of catalogues and of answers.

    Answers are cached as JSON by schema version, kind of caller, permission set and selection. Others are built on the
    compiler's threads: a large schema would block the event loop for too long.
    """

    def __init__(self, size: int = MAX_CATALOGUES, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._size = size
        self._max_bytes = max_bytes
        self._bytes = 0
        self._catalogues: OrderedDict[tuple[int, type, PermissionSet], Catalogue] = OrderedDict()
        self._answers: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._making: Coalescer[bytes] = Coalescer()
        self._lock = Lock()

    async def answer(
        self,
        version: SchemaVersion,
        ctx: Context,
        shape: bytes,
        type_name: str | None,
        complete: Callable[[Node | None], Any],
    ) -> msgspec.Raw:
        """Return the JSON of ``__type(name: type_name)``, or of ``__schema`` if that is None.

        :param shape: a digest of the selection; the selection itself would keep a plan in memory.
        :param complete: completes the value by the selection; called on another thread.
        """
        if type_name is not None and type_name not in version.schema.type_map:
            type_name = ""  # one cached answer for all unknown names
        key = (version.serial, type(ctx.principal), ctx.principal.permissions, shape, type_name)
        found = self._answers.get(key)
        if found is None:
            # One job per schema, and per brand, at a time.
            work = partial(self._make, version, ctx, type_name, complete)
            run = partial(COMPILER.run, ctx.brand.id if ctx.brand else version.key, work)
            found = await self._making.run(key, run)
            self._keep(key, found)
        else:
            self._answers.move_to_end(key)
        return msgspec.Raw(found)

    def _make(
        self, version: SchemaVersion, ctx: Context, type_name: str | None, complete: Callable[[Node | None], Any]
    ) -> bytes:
        catalogue = self.catalogue(version, ctx)
        node = catalogue.schema if type_name is None else catalogue.types.get(type_name)
        return msgspec.json.encode(complete(node))

    def _keep(self, key: tuple[Any, ...], answer: bytes) -> None:
        if key not in self._answers:
            self._bytes += len(answer) + _OVERHEAD
        self._answers[key] = answer
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._answers.popitem(last=False)[1]) + _OVERHEAD

    def catalogue(self, version: SchemaVersion, ctx: Context) -> Catalogue:
        """Return the part of a schema that the caller may use."""
        key = (version.serial, type(ctx.principal), ctx.principal.permissions)
        with self._lock:
            found = self._catalogues.get(key)
        if found is None:
            found = Catalogue(version, ctx)
        with self._lock:
            self._catalogues[key] = found
            self._catalogues.move_to_end(key)
            if len(self._catalogues) > self._size:
                self._catalogues.popitem(last=False)
        return found

    def forget(self, version: SchemaVersion) -> None:
        """Evict everything cached for a schema version that is out of use."""
        with self._lock:
            for key in [key for key in self._catalogues if key[0] == version.serial]:
                del self._catalogues[key]
        for answered in [key for key in self._answers if key[0] == version.serial]:
            self._bytes -= len(self._answers.pop(answered)) + _OVERHEAD


INTROSPECTOR = Introspector()
