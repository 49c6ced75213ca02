"""Validate a document against a schema, with a cheap first pass for unknown names.

Most invalid documents name something that the schema lacks. One short walk finds that, with the messages of
graphql-core's rules; these rules, which cost several times as much, run only on documents that pass it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Final

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLType,
    InlineFragmentNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    get_named_type,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged

from keystead.graphql.errors import DocumentRefused, Problem

MAX_VALIDATION_ERRORS: Final = 5

# Budget of the search for conflicting fields (in graphql-core's unit; its default is 500,000). A module
# constant that is read at every validation; tests/graphql/test_limits.py is the canary.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 10_000

_MORE: Final = Problem("Too many validation errors, error limit reached. Validation aborted.")
_UNFIT: Final = "This value does not fit the type that is expected here."


def require_valid(schema: GraphQLSchema, document: DocumentNode, text: str, *, hides_values: bool) -> None:
    """Validate a document; ``text`` is its source.

    :param hides_values: the document carries secrets: no message repeats a value.
    :raises DocumentRefused: with the first problems, and a last one that says there are more.
    """
    problems = list(islice(_unknown_names(schema, document, hides_values), MAX_VALIDATION_ERRORS + 1))
    if len(problems) > MAX_VALIDATION_ERRORS:
        problems[MAX_VALIDATION_ERRORS] = _MORE
    if not problems:
        errors = validate(
            schema,
            document,
            max_errors=MAX_VALIDATION_ERRORS,
            hide_suggestions=True,
            allow_empty_selection_sets=False,
        )
        problems = [_problem(error, hides_values) for error in errors]
    if problems:
        raise DocumentRefused(problems, text)


def _unknown_names(schema: GraphQLSchema, document: DocumentNode, hides_values: bool) -> Iterator[Problem]:
    """Yield the names that the schema lacks, and duplicate arguments."""
    for definition in document.definitions:
        type_: GraphQLNamedType | None = None
        if isinstance(definition, OperationDefinitionNode):
            type_ = schema.get_root_type(definition.operation)
        elif isinstance(definition, FragmentDefinitionNode):
            type_ = schema.type_map.get(definition.type_condition.name.value)
        pending: list[tuple[SelectionSetNode, GraphQLNamedType | None]] = []
        if isinstance(definition, (OperationDefinitionNode, FragmentDefinitionNode)):
            pending.append((definition.selection_set, type_))
        while pending:
            selection_set, parent = pending.pop()
            # graphql-core's rules report selections on other types.
            if not isinstance(parent, GraphQLObjectType):
                continue
            for node in selection_set.selections:
                if isinstance(node, FieldNode):
                    field = schema.get_field(parent, node.name.value)
                    if field is None:
                        yield _at(f"Cannot query field '{node.name.value}' on type '{parent.name}'.", node)
                        continue
                    if node.arguments:
                        yield from _unknown_arguments(field, f"{parent.name}.{node.name.value}", node, hides_values)
                    if node.selection_set is not None:
                        pending.append((node.selection_set, get_named_type(field.type)))
                elif isinstance(node, InlineFragmentNode):
                    condition = node.type_condition
                    below = parent if condition is None else schema.type_map.get(condition.name.value)
                    pending.append((node.selection_set, below))


def _unknown_arguments(field: GraphQLField, place: str, node: FieldNode, hides_values: bool) -> Iterator[Problem]:
    arguments: tuple[ArgumentNode, ...] = node.arguments or ()
    for argument in arguments:
        known = field.args.get(argument.name.value)
        if known is None:
            yield _at(f"Unknown argument '{argument.name.value}' on field '{place}'.", argument)
        else:
            yield from _unknown_input_fields(argument.value, known.type, hides_values)
    names = Counter(argument.name.value for argument in arguments)
    for name, times in names.items():
        if times > 1:
            twice = (argument.name for argument in arguments if argument.name.value == name)
            yield _at(f"There can be only one argument named '{name}'.", *twice)


def _unknown_input_fields(value: ValueNode, type_: GraphQLType, hides_values: bool) -> Iterator[Problem]:
    pending = [value]
    named = [get_named_type(type_)]
    while pending:
        node, below = pending.pop(), named.pop()
        if not isinstance(below, GraphQLInputObjectType):
            continue
        if isinstance(node, ListValueNode):
            pending.extend(node.values)
            named.extend([below] * len(node.values))
        elif isinstance(node, ObjectValueNode):
            for member in node.fields:
                known = below.fields.get(member.name.value)
                if known is not None:
                    pending.append(member.value)
                    named.append(get_named_type(known.type))
                elif hides_values:
                    yield _at(_UNFIT, node)
                else:
                    unknown = f"not to include unknown field '{member.name.value}'"
                    yield _at(f"Expected value of type '{below.name}' {unknown}.", node)


def _at(message: str, *nodes: Node) -> Problem:
    return Problem(message, tuple(node.loc.start for node in nodes if node.loc))


def _problem(error: GraphQLError, hides_values: bool) -> Problem:
    nodes = error.nodes or ()
    message = error.message
    if hides_values and nodes and isinstance(nodes[0], ValueNode):
        message = _UNFIT
    return _at(message, *nodes)
