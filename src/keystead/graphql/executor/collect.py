"""Collect the fields of a validated operation into a tree: fragments expanded, equal response keys merged.

Follows "Field Collection" of the specification (§6.3.2). The values of ``@skip`` and ``@include`` are an input: an
operation whose directives depend on variables has one tree per combination of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SchemaMetaFieldDef,
    SelectionNode,
    SelectionSetNode,
    TypeMetaFieldDef,
    TypeNameMetaFieldDef,
    VariableNode,
    get_named_type,
)

from keystead.graphql.executor.arguments import Arguments, compile_arguments

Flags = Mapping[str, bool]
"""The values of the variables that directives depend on."""

META_FIELDS = {"__typename": TypeNameMetaFieldDef, "__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}


@dataclass(frozen=True, slots=True, eq=False)
class FieldGroup:
    """All field nodes that share one response key."""

    key: str
    name: str
    parent: str
    definition: GraphQLField
    arguments: Arguments
    has_constant_arguments: bool
    starts: tuple[int, ...]
    children: tuple[FieldGroup, ...] | None

    @property
    def source(self) -> str:
        """The key of the value in the resolver's result (see ``Selection``)."""
        return self.key if self.definition.args and not self.parent.startswith("__") else self.name


def directive_variables(document: DocumentNode) -> tuple[str, ...]:
    """Return the variables that ``@skip`` and ``@include`` of a document depend on, sorted."""
    found: set[str] = set()
    pending: list[SelectionSetNode] = [
        node.selection_set
        for node in document.definitions
        if isinstance(node, (OperationDefinitionNode, FragmentDefinitionNode))
    ]
    while pending:
        for node in pending.pop().selections:
            for directive in node.directives or ():
                value = _condition(directive)
                if isinstance(value, VariableNode):
                    found.add(value.name.value)
            below = getattr(node, "selection_set", None)
            if below is not None:
                pending.append(below)
    return tuple(sorted(found))


class Collector:
    """Collects the fields of one document for given values of its directives."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, flags: Flags) -> None:
        self._schema = schema
        self._flags = flags
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }

    def groups(self, type_: GraphQLObjectType, sets: Iterable[SelectionSetNode]) -> tuple[FieldGroup, ...]:
        """Return the fields of selection sets on ``type_``, in response order."""
        collected: dict[str, list[FieldNode]] = {}
        visited: set[str] = set()
        for selection_set in sets:
            self._collect(type_, selection_set, collected, visited)
        return tuple(self._group(type_, key, nodes) for key, nodes in collected.items())

    def _group(self, type_: GraphQLObjectType, key: str, nodes: list[FieldNode]) -> FieldGroup:
        name = nodes[0].name.value
        definition = META_FIELDS.get(name) or type_.fields[name]
        arguments, is_constant = compile_arguments(definition, nodes[0])
        starts = tuple(node.loc.start for node in nodes if node.loc)
        below = get_named_type(definition.type)
        sets = [node.selection_set for node in nodes if node.selection_set is not None]
        children = self.groups(below, sets) if isinstance(below, GraphQLObjectType) else None
        return FieldGroup(key, name, type_.name, definition, arguments, is_constant, starts, children)

    def _collect(
        self,
        type_: GraphQLObjectType,
        selection_set: SelectionSetNode,
        collected: dict[str, list[FieldNode]],
        visited: set[str],
    ) -> None:
        for node in selection_set.selections:
            if not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                collected.setdefault((node.alias or node.name).value, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                if condition is None or condition.name.value == type_.name:
                    self._collect(type_, node.selection_set, collected, visited)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in visited:
                visited.add(node.name.value)
                fragment = self._fragments[node.name.value]
                if fragment.type_condition.name.value == type_.name:
                    self._collect(type_, fragment.selection_set, collected, visited)

    def _is_included(self, node: SelectionNode) -> bool:
        for directive in node.directives or ():
            value = _condition(directive)
            if value is None:
                continue
            holds = self._flags[value.name.value] if isinstance(value, VariableNode) else value.value
            if holds is (directive.name.value == "skip"):
                return False
        return True


def _condition(directive: DirectiveNode) -> VariableNode | BooleanValueNode | None:
    """Return the condition of ``@skip`` or ``@include``; None for another directive."""
    if directive.name.value not in ("skip", "include") or not directive.arguments:
        return None
    value = directive.arguments[0].value
    return value if isinstance(value, (VariableNode, BooleanValueNode)) else None
