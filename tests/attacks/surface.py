"""Every operation of a brand's schema, with a request for each.

Read from the schema, so that an operation that is added later is attacked by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
    is_enum_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from keystead.context import ActiveBrand, Server
from keystead.entities.access import RecordAccess
from keystead.graphql.access import Access, BrandToken, Change, Permission, Public
from keystead.graphql.resolvers import load_resolvers
from keystead.graphql.resolvers.entities import load_entity_fields
from keystead.graphql.schema import RootType, build_schema_version, load_fixed

UNKNOWN_ID = "01940000-0000-7000-8000-00000000dead"

_BY_NAME: dict[str, Any] = {
    "email": "eve@example.com",
    "newEmail": "eve@example.com",
    "permissions": ["read"],
    "definition": {"intruder": {"fields": {"name": {"type": "string"}}}},
}
_BY_TYPE: dict[str, Any] = {
    "ID": UNKNOWN_ID,
    "String": "intruder",
    "Int": 1,
    "Float": 1.5,
    "Boolean": False,
    "JSON": {},
    "Date": "2026-01-01",
    "DateTime": "2026-01-01T00:00:00Z",
}


@dataclass(frozen=True)
class Operation:
    """One field of ``Query`` or ``Mutation``."""

    type_name: RootType
    name: str
    access: Access
    field: GraphQLField

    def __str__(self) -> str:
        return f"{self.type_name}.{self.name}"

    @property
    def is_open(self) -> bool:
        """Whether it is public, or needs only a credential of the brand."""
        return isinstance(self.access, Public | BrandToken)

    @property
    def entity(self) -> str | None:
        """The entity whose records it is about."""
        return self.access.entity if isinstance(self.access, RecordAccess) else None

    @property
    def needs(self) -> str | None:
        """The permission that it needs, of the fixed part."""
        return self.access.needs if isinstance(self.access, Permission) else None

    def inputs(self) -> dict[str, str]:
        """The names of its arguments and of the members below them, each with the name of its type."""
        return dict(_inputs({name: argument.type for name, argument in self.field.args.items()}))

    def request(self, select: str | None = None, **given: Any) -> tuple[str, dict[str, Any]]:
        """A document that asks for the operation, and its variables.

        :param select: the selection set; by default the fewest fields that there can be.
        :param given: values for arguments, or for members of inputs, of these names; whatever else is required is
            made up, the rest is left out.
        """
        types = {name: argument.type for name, argument in self.field.args.items()}
        values = _members(types, given)
        declared = ", ".join(f"${name}: {types[name]}" for name in values)
        passed = ", ".join(f"{name}: ${name}" for name in values)
        head = f"{self.type_name.lower()}{f'({declared})' if declared else ''}"
        call = f"{self.name}{f'({passed})' if passed else ''}"
        return f"{head} {{ {call} {select or smallest_selection(self.field.type)} }}", values


async def operations(server: Server, brand: ActiveBrand) -> list[Operation]:
    """Every operation of the brand's schema; its entities' as ``brand.schema_version`` says."""
    fixed = load_fixed(load_resolvers())
    version = build_schema_version(fixed, await load_entity_fields(server.db, fixed, brand), "attacked")
    roots = {"Query": version.schema.query_type, "Mutation": version.schema.mutation_type}
    found = []
    for (type_name, name), entry in version.fields.items():
        root = roots[type_name]
        assert root is not None
        rule = entry.access.rule if isinstance(entry.access, Change) else entry.access
        found.append(Operation(type_name, name, rule, root.fields[name]))
    assert len(found) > 40
    return found


def smallest_selection(type_: Any) -> str:
    """A selection set with as few fields as there can be: an ``id`` where there is one."""
    named = get_named_type(type_)
    if not isinstance(named, GraphQLObjectType):
        return ""
    leaves = [name for name, field in named.fields.items() if is_leaf_type(get_named_type(field.type))]
    if leaves:
        return f"{{ {'id' if 'id' in leaves else leaves[0]} }}"
    name, field = next(iter(named.fields.items()))
    return f"{{ {name} {smallest_selection(field.type)} }}"


def whole_selection(type_: Any) -> str:
    """A selection set with every leaf there is, however deep."""
    named = get_named_type(type_)
    if not isinstance(named, GraphQLObjectType):
        return ""
    return f"{{ {' '.join(f'{name} {whole_selection(field.type)}' for name, field in named.fields.items())} }}"


def _inputs(types: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, type_ in types.items():
        named = get_named_type(type_)
        yield name, named.name
        if isinstance(named, GraphQLInputObjectType) and named.name != "FilterInput":
            yield from _inputs({member: field.type for member, field in named.fields.items()})


def _members(types: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _value(name, type_, given) for name, type_ in types.items() if name in given or is_non_null_type(type_)
    }


def _value(name: str, type_: Any, given: Mapping[str, Any]) -> Any:
    if name in given:
        return given[name]
    if name in _BY_NAME:
        return _BY_NAME[name]
    bare = get_nullable_type(type_)
    if is_list_type(bare):
        return [_value(name, bare.of_type, given)]
    if isinstance(bare, GraphQLInputObjectType):
        return _members({member: field.type for member, field in bare.fields.items()}, given)
    return next(iter(bare.values)) if is_enum_type(bare) else _BY_TYPE[bare.name]
