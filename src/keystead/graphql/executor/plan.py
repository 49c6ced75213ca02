"""Compile a validated operation to a plan: per root field an access check, a resolver call and a completion.

A plan has no conditions: ``collect`` has already evaluated ``@skip`` and ``@include``. It holds closures and offsets,
but neither the document's AST nor its text, so a cached plan is small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from graphql import DocumentNode, OperationDefinitionNode, OperationType

from keystead.graphql.access import Access, Public
from keystead.graphql.executor.arguments import Arguments
from keystead.graphql.executor.collect import Collector, FieldGroup, Flags
from keystead.graphql.executor.complete import Completer, completer
from keystead.graphql.executor.cost import Cost, operation_cost
from keystead.graphql.executor.selection import EMPTY, SelectedField, Selection
from keystead.graphql.executor.variables import NO_VALUES, Values
from keystead.graphql.introspection import IntrospectionAccess
from keystead.graphql.limits import INTROSPECTION_FIELDS
from keystead.graphql.resolvers import Resolver
from keystead.graphql.schema import RootType, SchemaVersion

SelectionGetter = Callable[[Values], Selection]


@dataclass(frozen=True, slots=True, eq=False)
class RootField:
    """One root field of an operation. ``constant`` is the value of ``__typename``; None for every other field."""

    key: str
    """The response key: the alias, else the name."""
    name: str
    access: Access
    resolver: Resolver
    arguments: Arguments
    selection: SelectionGetter
    complete: Completer
    starts: tuple[int, ...]
    is_nullable: bool = True
    constant: str | None = None
    introspects: SchemaVersion | None = None
    """The schema that ``__schema`` and ``__type`` describe; they have no resolver."""
    shape: bytes = b""
    """A digest of the selection below ``__schema`` or ``__type``."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """An operation, ready to be executed."""

    fields: tuple[RootField, ...]
    cost: Cost
    is_query: bool = True


def compile_plan(
    version: SchemaVersion, document: DocumentNode, operation: OperationDefinitionNode, flags: Flags
) -> Plan:
    """Compile one operation of a validated document.

    :raises DocumentInvalid: when it is over the cost limit for all variables.
    """
    root_type: RootType = "Mutation" if operation.operation is OperationType.MUTATION else "Query"
    type_ = version.schema.mutation_type if root_type == "Mutation" else version.schema.query_type
    assert type_ is not None  # noqa: S101  (validation rejects an operation type that the schema lacks)
    groups = Collector(version.schema, document, flags).groups(type_, [operation.selection_set])
    fields = tuple(_root_field(version, root_type, group) for group in groups)
    return Plan(fields, operation_cost(groups), is_query=root_type == "Query")


def _root_field(version: SchemaVersion, root_type: RootType, group: FieldGroup) -> RootField:
    if group.name == "__typename":
        constant = group.parent
        return RootField(
            group.key,
            group.name,
            Public(),
            _no_resolver,
            _no_arguments,
            _empty,
            completer(group),
            group.starts,
            constant=constant,
        )
    if group.name in INTROSPECTION_FIELDS:
        access: Access = IntrospectionAccess()
        resolver: Resolver = _no_resolver
        introspects: SchemaVersion | None = version
        shape = sha256(repr(_shape(group.children or ())).encode()).digest()
    else:
        entry = version.fields[(root_type, group.name)]
        access, resolver, introspects, shape = entry.access, entry.resolver, None, b""
    return RootField(
        group.key,
        group.name,
        access,
        resolver,
        group.arguments,
        _selection(group.children or ()),
        completer(group),
        group.starts,
        is_nullable=not str(group.definition.type).endswith("!"),
        introspects=introspects,
        shape=shape,
    )


async def _no_resolver(_ctx: object, _args: Mapping[str, Any], _selection: Selection) -> None:
    return None


def _no_arguments(_values: Values) -> dict[str, Any]:
    return {}


def _empty(_values: Values) -> Selection:
    return EMPTY


def _selection(children: Iterable[FieldGroup]) -> SelectionGetter:
    """Compile the selection below a root field; built per request only if a nested field takes arguments."""
    below = tuple(children)
    if not below:
        return _empty
    if _takes_arguments(below):
        return lambda values: _build(below, values)
    fixed = _build(below, NO_VALUES)
    return lambda _values: fixed


def _shape(groups: Iterable[FieldGroup]) -> list[Any]:
    """The names and response keys, which decide an introspection's answer. Arguments below its root have no effect."""
    return [(group.key, group.name, _shape(group.children or ())) for group in groups]


def _takes_arguments(groups: tuple[FieldGroup, ...]) -> bool:
    return any(group.definition.args or _takes_arguments(group.children or ()) for group in groups)


def _build(groups: tuple[FieldGroup, ...], values: Values) -> Selection:
    return Selection(
        tuple(
            SelectedField(
                group.name,
                group.key,
                group.arguments(values),
                None if group.children is None else _build(group.children, values),
            )
            for group in groups
        )
    )
