"""Join the fixed schema and one brand's entities to a ``SchemaVersion``.

The fixed types are built once per process and shared by every brand's schema; only ``Query`` and ``Mutation`` are built
per brand. Each of their fields has an access rule and a resolver, or the process does not start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from itertools import count
from typing import Literal

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FieldDefinitionNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    StringValueNode,
    build_ast_schema,
    parse,
    specified_directives,
)

from keystead.errors import StartupError
from keystead.graphql.access import Access, BrandToken, Permission, Public, User, for_mutation
from keystead.graphql.resolvers import Registry, Resolver
from keystead.graphql.scalars import add_scalar_functions

RootType = Literal["Query", "Mutation"]
ROOT_TYPES: tuple[RootType, ...] = ("Query", "Mutation")

_serials = count(1)


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """Access rule and resolver of a field of ``Query`` or ``Mutation``."""

    access: Access
    resolver: Resolver
    is_secret: bool = False
    """Its arguments or result may hold a password or a token: ``@secret`` (security §12)."""
    is_alone: bool = False
    """It must be the only root field of its operation: ``@secret`` without ``alone: false``."""
    is_fixed: bool = True
    """False for fields of entities: introspection shows them only to callers who may use them."""


@dataclass(frozen=True, slots=True)
class EntityField:
    """A root field of an entity. ``extensions["access"]`` of fields below it hides them from introspection."""

    type_name: RootType
    name: str
    field: GraphQLField
    access: Access
    resolver: Resolver


@dataclass(frozen=True, slots=True, eq=False)
class SchemaVersion:
    """One brand's schema at one version; ``key`` names it in logs, ``serial`` is its identity in caches."""

    key: str
    schema: GraphQLSchema
    fields: Mapping[tuple[RootType, str], FieldEntry]
    serial: int = field(default_factory=lambda: next(_serials))
    root_names: frozenset[str] = field(init=False)
    """Names of all root fields, of queries and mutations."""
    secret_names: frozenset[str] = field(init=False)
    """Root fields marked ``@secret``."""
    alone_names: frozenset[str] = field(init=False)
    """Those of them that must be alone in their operation."""

    def __post_init__(self) -> None:
        names = {"__typename", "__schema", "__type", *(name for _, name in self.fields)}
        object.__setattr__(self, "root_names", frozenset(names))
        secrets = {name: entry.is_alone for (_, name), entry in self.fields.items() if entry.is_secret}
        object.__setattr__(self, "secret_names", frozenset(secrets))
        object.__setattr__(self, "alone_names", frozenset(name for name, is_alone in secrets.items() if is_alone))


@dataclass(frozen=True, slots=True, eq=False)
class FixedSchema:
    """The part of the schema that all brands share. Entity types refer to its ``types``."""

    types: Mapping[str, GraphQLNamedType]
    roots: Mapping[RootType, Mapping[str, GraphQLField]]
    entries: Mapping[tuple[RootType, str], FieldEntry]
    version: SchemaVersion


def fixed_text() -> str:
    """Return the SDL of the fixed schema."""
    return files(__package__ or "keystead.graphql").joinpath("schema.graphql").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def fixed_names() -> frozenset[str]:
    """Return every name of the fixed schema: its types, and the fields of ``Query`` and ``Mutation``."""
    schema = build_ast_schema(_parsed(fixed_text()))
    roots = (schema.query_type, schema.mutation_type)
    return frozenset(schema.type_map) | {name for root in roots if root for name in root.fields}


def load_fixed(registry: Registry, text: str | None = None) -> FixedSchema:
    """Build the fixed schema and connect its resolvers.

    :param text: SDL of another schema, for tests.
    :raises StartupError: when a field lacks its one access directive or its resolver, or a resolver its field.
    """
    schema = build_ast_schema(_parsed(text or fixed_text()))
    add_scalar_functions(schema.type_map)
    roots: dict[RootType, Mapping[str, GraphQLField]] = {}
    for type_name in ROOT_TYPES:
        root = schema.type_map.get(type_name)
        roots[type_name] = root.fields if isinstance(root, GraphQLObjectType) else {}
    known = {f"{type_name}.{name}" for type_name in ROOT_TYPES for name in roots[type_name]}
    if strangers := sorted(set(registry) - known):
        raise StartupError(f"resolvers without a field in the schema: {', '.join(strangers)}")
    if missing := sorted(known - set(registry)):
        raise StartupError(f"fields without a resolver: {', '.join(missing)}")
    entries = {
        (type_name, name): FieldEntry(
            _access(type_name, name, definition), registry[f"{type_name}.{name}"], *_secrecy(definition)
        )
        for type_name in ROOT_TYPES
        for name, definition in roots[type_name].items()
    }
    types = {name: type_ for name, type_ in schema.type_map.items() if name not in ROOT_TYPES}
    version = SchemaVersion("fixed", _join(roots, types.values()), entries)
    return FixedSchema(types, roots, entries, version)


def build_schema_version(fixed: FixedSchema, entity_fields: Iterable[EntityField], key: str) -> SchemaVersion:
    """Build a brand's schema: the fixed schema and the fields of its entities.

    :raises ValueError: when an entity's field or type has a name that is taken.
    """
    roots: dict[RootType, dict[str, GraphQLField]] = {name: dict(fixed.roots[name]) for name in ROOT_TYPES}
    entries = dict(fixed.entries)
    for added in entity_fields:
        if added.name in roots[added.type_name]:
            raise ValueError(f"{added.type_name}.{added.name} is in use")
        roots[added.type_name][added.name] = added.field
        access = for_mutation(added.access) if added.type_name == "Mutation" else added.access
        entries[(added.type_name, added.name)] = FieldEntry(access, added.resolver, is_fixed=False)
    try:
        schema = _join(roots, fixed.types.values())
    except TypeError as error:
        raise ValueError(str(error)) from error
    return SchemaVersion(key, schema, entries)


def _parsed(text: str) -> DocumentNode:
    return parse(text, no_location=True)


def _join(roots: Mapping[RootType, Mapping[str, GraphQLField]], types: Iterable[GraphQLNamedType]) -> GraphQLSchema:
    query, mutation = (GraphQLObjectType(name, dict(roots[name])) if roots[name] else None for name in ROOT_TYPES)
    # Standard directives only: clients do not see @public and the like. The types are valid by construction (a test
    # validates them); validating them for every brand would block the event loop for 10 ms.
    return GraphQLSchema(query, mutation, types=list(types), directives=specified_directives, assume_valid=True)


def _access(type_name: str, name: str, definition: GraphQLField) -> Access:
    node: FieldDefinitionNode | None = definition.ast_node
    found: list[Access] = []
    for directive in (node.directives or ()) if node else ():
        match directive.name.value:
            case "public":
                found.append(Public())
            case "brandToken":
                found.append(BrandToken())
            case "user":
                found.append(User())
            case "permission":
                value = directive.arguments[0].value if directive.arguments else None
                if isinstance(value, StringValueNode) and value.value:
                    found.append(Permission(value.value))
    if len(found) != 1:
        raise StartupError(f"{type_name}.{name} needs exactly one access directive, and has {len(found)}")
    return for_mutation(found[0]) if type_name == "Mutation" else found[0]


def _secrecy(definition: GraphQLField) -> tuple[bool, bool]:
    """``is_secret`` and ``is_alone``, from the directive ``@secret``."""
    node: FieldDefinitionNode | None = definition.ast_node
    for directive in (node.directives or ()) if node else ():
        if directive.name.value == "secret":
            values = [argument.value for argument in directive.arguments or ()]
            return True, not any(isinstance(value, BooleanValueNode) and not value.value for value in values)
    return False, False
