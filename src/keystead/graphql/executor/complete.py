"""Value completion: turn a resolver's result into the response, with one closure per response field.

Follows "Value Completion" and "Handling Execution Errors" of the specification (§6.4.3, §6.4.4): an invalid value, or a
null that is not allowed, nulls its nearest nullable parent. Such a fault is a bug in a resolver, so it is logged and
answered as ``INTERNAL_SERVER_ERROR``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Optional

from graphql import (
    GraphQLEnumType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    is_list_type,
    is_non_null_type,
)

from keystead.graphql.errors import response_too_large
from keystead.graphql.executor.collect import FieldGroup

Path = tuple[Optional["Path"], str | int]
"""A response path as a linked list, innermost key first: cheap to build, and read only for an error."""

MAX_VALUES = 100_000
"""Values that an answer may hold: nested introspection multiplies, and the 1 MiB limit applies only after building."""


class Nulled(Exception):
    """Nulls the nearest nullable parent; the fault is already recorded."""


class Faults:
    """The faults of one answer, and how many more values it may hold."""

    __slots__ = ("found", "values_left")

    def __init__(self) -> None:
        self.found: list[tuple[Path, tuple[int, ...], Exception]] = []
        self.values_left = MAX_VALUES

    def null(self, path: Path, group: FieldGroup, error: Exception) -> NoReturn:
        """Record a fault and null the nearest nullable parent.

        :raises Nulled: always.
        """
        self.found.append((path, group.starts, error))
        raise Nulled

    def spend(self, values: int) -> None:
        """Count values against the limit.

        :raises DocumentInvalid: above ``MAX_VALUES``.
        """
        self.values_left -= values
        if self.values_left < 0:
            raise response_too_large()


Completer = Callable[[Any, Path, Faults], Any]


def path_list(path: Path | None) -> list[str | int]:
    """Return the path in the form of the response."""

    def upwards(place: Path | None) -> Iterator[str | int]:
        while place is not None:
            place, key = place
            yield key

    return list(upwards(path))[::-1]


def completer(group: FieldGroup) -> Completer:
    """Return the function that completes the values of one field."""
    return _of_type(group.definition.type, group)


def _of_type(type_: GraphQLOutputType, group: FieldGroup) -> Completer:
    if is_non_null_type(type_):
        return _non_null(_present(type_.of_type, group), group)
    return _nullable(_present(type_, group))


def _present(type_: GraphQLOutputType, group: FieldGroup) -> Completer:
    """Return the completer of a value that is not None."""
    if is_list_type(type_):
        return _list(_of_type(type_.of_type, group), 1 + _width(group), group)
    if isinstance(type_, GraphQLObjectType):
        return _object(type_.name, group)
    if isinstance(type_, GraphQLEnumType):
        return _leaf({value.value: name for name, value in type_.values.items()}.__getitem__, group)
    if isinstance(type_, GraphQLScalarType):
        return _leaf(type_.coerce_output_value, group)
    raise TypeError(f"{type_} is an abstract type, which the schema is not made for")


def _non_null(present: Completer, group: FieldGroup) -> Completer:
    def complete(value: Any, path: Path, faults: Faults) -> Any:
        if value is None:
            faults.null(path, group, ValueError(f"null for {group.parent}.{group.name}, which is not nullable"))
        return present(value, path, faults)

    return complete


def _nullable(present: Completer) -> Completer:
    def complete(value: Any, path: Path, faults: Faults) -> Any:
        if value is None:
            return None
        try:
            return present(value, path, faults)
        except Nulled:
            return None

    return complete


def _leaf(write: Callable[[Any], Any], group: FieldGroup) -> Completer:
    def complete(value: Any, path: Path, faults: Faults) -> Any:
        try:
            return write(value)
        except Exception as error:
            faults.null(path, group, error)

    return complete


def _list(item: Completer, width: int, group: FieldGroup) -> Completer:
    def complete(value: Any, path: Path, faults: Faults) -> Any:
        if not isinstance(value, (list, tuple)):
            faults.null(path, group, TypeError(f"{type(value).__name__} for the list {group.parent}.{group.name}"))
        faults.spend(width * len(value))
        return [item(member, (path, index), faults) for index, member in enumerate(value)]

    return complete


def _object(type_name: str, group: FieldGroup) -> Completer:
    steps = tuple((child.key, child.source, _plain_type(child), _step(child)) for child in group.children or ())

    def complete(value: Any, path: Path, faults: Faults) -> Any:
        if not isinstance(value, Mapping):
            faults.null(path, group, TypeError(f"{type(value).__name__} for an object of type {type_name}"))
        get = value.get
        answer: dict[str, Any] = {}
        for key, source, plain, step in steps:
            member = get(source)
            # Most leaves are strings and booleans, which are written unchanged.
            answer[key] = member if member.__class__ is plain else step(member, (path, key), faults)
        return answer

    return complete


def _step(group: FieldGroup) -> Completer:
    if group.name == "__typename":
        return lambda _value, _path, _faults: group.parent
    return completer(group)


_PLAIN_TYPES: Mapping[str, type] = {"String": str, "ID": str, "Boolean": bool}


def _plain_type(group: FieldGroup) -> type | None:
    """The exact Python type whose values are written unchanged; None where each value is checked."""
    if group.name == "__typename":
        return None
    type_ = group.definition.type
    return _PLAIN_TYPES.get(str(type_).removesuffix("!"))


def _width(group: FieldGroup) -> int:
    """Values of one item, without the lists inside it, which are counted separately."""
    children = group.children or ()
    return sum(1 if _is_list(child) else 1 + _width(child) for child in children)


def _is_list(group: FieldGroup) -> bool:
    type_ = group.definition.type
    return is_list_type(type_.of_type if is_non_null_type(type_) else type_)
