"""The variables of an operation: what it declares, and a request's values coerced to that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from graphql import (
    GraphQLError,
    GraphQLInputType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    is_non_null_type,
    type_from_ast,
)
from graphql.pyutils import print_path_list
from graphql.utilities import coerce_input_literal, coerce_input_value, validate_input_value

from keystead.errors import MalformedRequest

Values = Mapping[str, Any]
"""Coerced variables by name; one without a value is absent."""

NO_VALUES: Values = {}


@dataclass(frozen=True, slots=True)
class Variable:
    """One declared variable. ``default`` is coerced, ``Undefined`` where there is none."""

    name: str
    type: GraphQLInputType
    default: Any


def declared_variables(schema: GraphQLSchema, operation: OperationDefinitionNode) -> tuple[Variable, ...]:
    """The variables that a validated operation declares."""
    found = []
    for node in operation.variable_definitions or ():
        type_ = cast("GraphQLInputType", type_from_ast(schema, node.type))
        default = Undefined if node.default_value is None else coerce_input_literal(node.default_value, type_)
        found.append(Variable(node.variable.name.value, type_, default))
    return tuple(found)


def coerce(variables: tuple[Variable, ...], raw: Mapping[str, Any] | None, *, is_secret: bool) -> Values:
    """The request's values for these variables; unknown members of ``raw`` are ignored.

    :param is_secret: the operation carries credentials, so that no message may repeat a value.
    :raises MalformedRequest: when a value does not fit; ``extensions.field`` names the variable.
    """
    if not variables:
        return NO_VALUES
    given = raw or {}
    coerced: dict[str, Any] = {}
    for variable in variables:
        value = given.get(variable.name, Undefined)
        if value is Undefined:
            if variable.default is not Undefined:
                coerced[variable.name] = copy_value(variable.default)
            elif is_non_null_type(variable.type):
                raise _unfit(variable, "is required and was not given")
            continue
        try:
            result = coerce_input_value(value, variable.type)
        except RecursionError:
            raise _unfit(variable, "is nested too deeply") from None
        if result is Undefined:
            raise _unfit(variable, "does not fit it" if is_secret else _reason(value, variable))
        coerced[variable.name] = result
    return coerced


def _unfit(variable: Variable, reason: str) -> MalformedRequest:
    return MalformedRequest(f"Variable '${variable.name}' of type '{variable.type}' {reason}.", field=variable.name)


def _reason(value: Any, variable: Variable) -> str:
    """What is wrong with the value, in GraphQL's words and with the path inside it; the first fault only."""
    reasons: list[str] = []

    def note(error: GraphQLError, path: list[str | int]) -> None:
        if not reasons:
            reasons.append(f"has an invalid value{print_path_list(path)}: {error.message[:300].rstrip('.')}")

    on_error: Callable[[GraphQLError, list[str | int]], None] = note
    try:
        validate_input_value(value, variable.type, on_error, True)
    except RecursionError:
        return "is nested too deeply"
    return reasons[0] if reasons else "does not fit it"


def copy_value(value: Any) -> Any:
    """The value with its dicts and lists copied; other values are immutable."""
    if isinstance(value, dict):
        return {name: copy_value(member) for name, member in value.items()}
    if isinstance(value, list):
        return [copy_value(member) for member in value]
    return value
