"""Compile the arguments of a field to one function of the variables; constants are coerced once.

Follows "Coercing Field Arguments" of the GraphQL specification (§6.4.1): an argument whose variable has no value is
absent, so the argument's default applies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputType,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableNode,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
)
from graphql.utilities import coerce_input_literal
from graphql.utilities.coerce_input_value import coerce_default_value

from keystead.errors import BadUserInput
from keystead.graphql.executor.variables import Values, copy_value
from keystead.graphql.scalars import literal_value

Getter = Callable[[Values], Any]
Arguments = Callable[[Values], dict[str, Any]]
"""Returns a field's arguments by schema name, in a new dict.

:raises BadUserInput: when a variable is null where the argument must not be.
"""


def compile_arguments(definition: GraphQLField, node: FieldNode) -> tuple[Arguments, bool]:
    """Compile the arguments of a validated field node; also whether they are the same for all variables."""
    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    constants: dict[str, Any] = {}
    getters: list[tuple[str, Getter]] = []
    for name, argument in definition.args.items():
        value = given.get(name)
        if value is None or not _mentions_variable(value):
            constant = _default(argument) if value is None else coerce_input_literal(value, argument.type)
            if constant is not Undefined:
                constants[name] = constant
        else:
            getters.append((name, _compile_member(name, value, argument)))
    if not getters:
        return _constant(constants), True

    def arguments(values: Values) -> dict[str, Any]:
        found: dict[str, Any] = copy_value(constants)
        for name, getter in getters:
            value = getter(values)
            if value is not Undefined:
                found[name] = value
        return found

    return arguments, False


def _constant(constants: dict[str, Any]) -> Arguments:
    if any(isinstance(value, (dict, list)) for value in constants.values()):
        return lambda _values: {name: copy_value(value) for name, value in constants.items()}
    return lambda _values: constants.copy()


def _default(member: GraphQLArgument | GraphQLInputField) -> Any:
    return coerce_default_value(member)


def _mentions_variable(node: ValueNode) -> bool:
    pending = [node]
    while pending:
        value = pending.pop()
        if isinstance(value, VariableNode):
            return True
        if isinstance(value, ListValueNode):
            pending.extend(value.values)
        elif isinstance(value, ObjectValueNode):
            pending.extend(member.value for member in value.fields)
    return False


def _compile_member(name: str, node: ValueNode, member: GraphQLArgument | GraphQLInputField) -> Getter:
    """Compile an argument or input field; the getter returns ``Undefined`` where it is absent."""
    getter = _compile(name, node, member.type)
    if not isinstance(node, VariableNode):
        return getter
    variable = node.name.value
    default = _default(member)
    if default is Undefined and is_non_null_type(member.type):
        return getter

    def with_default(values: Values) -> Any:
        return getter(values) if variable in values else copy_value(default)

    return with_default


def _compile(name: str, node: ValueNode, type_: GraphQLInputType) -> Getter:
    """Compile a literal that may contain variables; ``name`` is the argument or input field it belongs to."""
    if isinstance(node, VariableNode):
        return _variable(name, node.name.value, is_non_null_type(type_))
    if not _mentions_variable(node):
        constant = coerce_input_literal(node, type_)
        return lambda _values: copy_value(constant)
    if is_non_null_type(type_):
        return _compile(name, node, type_.of_type)
    if is_list_type(type_):
        nodes = node.values if isinstance(node, ListValueNode) else (node,)
        items = [_compile_item(name, item, type_.of_type) for item in nodes]
        return lambda values: [item(values) for item in items]
    if is_input_object_type(type_) and isinstance(node, ObjectValueNode):
        given = {member.name.value: member.value for member in node.fields}
        return _object([(key, _compile_field(key, given.get(key), field)) for key, field in type_.fields.items()])
    return _json_literal(node)


def _compile_field(name: str, node: ValueNode | None, field: GraphQLInputField) -> Getter:
    if node is not None:
        return _compile_member(name, node, field)
    default = _default(field)
    return lambda _values: copy_value(default)


def _compile_item(name: str, node: ValueNode, type_: GraphQLInputType) -> Getter:
    getter = _compile(name, node, type_)

    def item(values: Values) -> Any:
        value = getter(values)
        return None if value is Undefined else value

    return item


def _object(members: list[tuple[str, Getter]]) -> Getter:
    def build(values: Values) -> dict[str, Any]:
        pairs = ((key, getter(values)) for key, getter in members)
        return {key: value for key, value in pairs if value is not Undefined}

    return build


def _variable(name: str, variable: str, needs_value: bool) -> Getter:
    def get(values: Values) -> Any:
        value = values.get(variable, Undefined)
        if needs_value and (value is None or value is Undefined):
            raise BadUserInput(f"'{name}' must not be null.", field=name)
        return value

    return get


def _json_literal(node: ValueNode) -> Getter:
    """Compile a JSON literal that contains variables; one without a value is null."""
    if isinstance(node, VariableNode):
        variable = node.name.value
        return lambda values: values.get(variable)
    if isinstance(node, ListValueNode):
        items = [_json_literal(item) for item in node.values]
        return lambda values: [item(values) for item in items]
    if isinstance(node, ObjectValueNode):
        members = [(member.name.value, _json_literal(member.value)) for member in node.fields]
        return lambda values: {key: getter(values) for key, getter in members}
    constant = None if isinstance(node, NullValueNode) else literal_value(node)
    return lambda _values: constant
