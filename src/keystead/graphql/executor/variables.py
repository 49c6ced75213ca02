"""Variables of an operation: their declarations, and the coercion of a request's values (specification §6.1.2)."""

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
"""Coerced variables by name; a variable without a value is absent."""

NO_VALUES: Values = {}


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared variable. ``default`` is coerced, or ``Undefined``."""

    name: str
    type: GraphQLInputType
    default: Any


def declared_variables(schema: GraphQLSchema, operation: OperationDefinitionNode) -> tuple[Variable, ...]:
    """Return the variables that a validated operation declares."""
    found = []
    for node in operation.variable_definitions or ():
        type_ = cast("GraphQLInputType", type_from_ast(schema, node.type))
        default = Undefined if node.default_value is None else coerce_input_literal(node.default_value, type_)
        found.append(Variable(node.variable.name.value, type_, default))
    return tuple(found)


def coerce(variables: tuple[Variable, ...], raw: Mapping[str, Any] | None, *, is_secret: bool) -> Values:
    """Coerce the request's values for these variables; unknown members of ``raw`` are ignored.

    :param is_secret: the operation carries credentials: messages do not repeat values.
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
    """Describe the first fault of the value, with its path, in the words of graphql-core."""
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
    """Deep-copy dicts and lists, so that a resolver which changes its arguments changes no cached constant."""
    if isinstance(value, dict):
        return {name: copy_value(member) for name, member in value.items()}
    if isinstance(value, list):
        return [copy_value(member) for member in value]
    return value
