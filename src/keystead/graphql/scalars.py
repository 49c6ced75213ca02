"""Custom scalars: ``Date``, ``DateTime``, ``JSON``, ``FilterValue``.

A ``DateTime`` is written in UTC with six fraction digits and ``Z`` (``2024-01-01T00:00:00.000000Z``): fixed width, so
that strings sort as instants, and in stored precision, so that a value read can be used in a filter.
It is read as ISO 8601 with an offset or ``Z``; a time without an offset names no instant and is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

from graphql import (
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLScalarType,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
    ValueNode,
)

LARGEST_INTEGER = 2**63 - 1
"""Integers inside ``JSON`` and ``FilterValue`` have 64 bits, which both databases store."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def write_date_time(value: Any) -> str:
    """Format an aware ``datetime``: UTC, microseconds, ``Z``.

    :raises GraphQLError: for other values, also a naive ``datetime``.
    """
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise GraphQLError("DateTime needs an aware datetime.")
    instant = value if value.tzinfo is UTC else value.astimezone(UTC)
    return instant.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def read_date_time(value: Any) -> datetime:
    """Parse an ISO 8601 time with an offset; returns it in UTC.

    :raises GraphQLError: for other values.
    """
    if isinstance(value, str) and _DATE_TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise GraphQLError("DateTime needs an ISO 8601 date and time with an offset, like 2024-01-01T00:00:00Z.")


def write_date(value: Any) -> str:
    """Format a ``date`` as ``YYYY-MM-DD``.

    :raises GraphQLError: for other values, also a ``datetime``.
    """
    if not isinstance(value, date) or isinstance(value, datetime):
        raise GraphQLError("Date needs a date.")
    return value.isoformat()


def read_date(value: Any) -> date:
    """Parse ``YYYY-MM-DD``.

    :raises GraphQLError: for other values.
    """
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise GraphQLError("Date needs a day like 2024-01-31.")


def read_filter_value(value: Any) -> str | int | float | bool:
    """Check a string, 64-bit integer, finite float or boolean; its type stays.

    :raises GraphQLError: for a list, an object or null.
    """
    if isinstance(value, (list, dict)) or value is None:
        raise GraphQLError("FilterValue needs a String, Int, Float or Boolean.")
    checked: str | int | float | bool = read_json(value)
    return checked


def read_json(value: Any) -> Any:
    """Check a JSON value: integers have at most 64 bits, floats are finite.

    :raises GraphQLError: for other values.
    """
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)
        elif isinstance(part, int) and not -LARGEST_INTEGER - 1 <= part <= LARGEST_INTEGER:
            raise GraphQLError("An integer has at most 64 bits.")
        elif isinstance(part, float) and not isfinite(part):
            raise GraphQLError("A number must be finite.")
        elif part is not None and not isinstance(part, (str, int, float)):
            raise GraphQLError("JSON cannot represent this value.")
    return value


def _write_as_is(value: Any) -> Any:
    return value


def literal_value(node: ValueNode) -> Any:
    """Return the JSON value of a literal without variables.

    :raises GraphQLError: for an enum value.
    """
    match node:
        case NullValueNode():
            return None
        case BooleanValueNode() | StringValueNode():
            return node.value
        case IntValueNode():
            return int(node.value)
        case FloatValueNode():
            return float(node.value)
        case ListValueNode():
            return [literal_value(item) for item in node.values]
        case ObjectValueNode():
            return {field.name.value: literal_value(field.value) for field in node.fields}
        case EnumValueNode():
            raise GraphQLError(f"'{node.value[:80]}' is no JSON value: texts stand in quotes.")
    raise GraphQLError("JSON cannot represent this value.")


def _literal(read: Callable[[Any], Any]) -> Callable[[ValueNode], Any]:
    def read_literal(node: ValueNode) -> Any:
        return read(literal_value(node))

    return read_literal


_SCALARS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "Date": (write_date, read_date),
    "DateTime": (write_date_time, read_date_time),
    "JSON": (_write_as_is, read_json),
    "FilterValue": (_write_as_is, read_filter_value),
}


def add_scalar_functions(types: dict[str, GraphQLNamedType]) -> None:
    """Set the coercion functions of the custom scalars of a schema that was built from SDL."""
    for name, (write, read) in _SCALARS.items():
        scalar = types.get(name)
        if isinstance(scalar, GraphQLScalarType):
            scalar.coerce_output_value = write
            scalar.coerce_input_value = read
            scalar.coerce_input_literal = _literal(read)
