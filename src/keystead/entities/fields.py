"""Types of fields, their rules, and the checks that a field's definition compiles to.

Patterns are run by RE2, in time linear in the value: no pattern can stall the server (ReDoS).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from keystead.entities import values
from keystead.entities.model import Field, FieldType
from keystead.errors import ValidationError

LONGEST_PATTERN = 500
LONGEST_REASON = 120
MEMORY = 1 << 20
"""Bytes that a compiled pattern may take; RE2's default is eight times as much."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern. Matching takes at most ``size`` steps per character."""

    matches: Callable[[str], bool]
    """Return whether a whole text matches."""
    size: int
    """Instructions of RE2's program."""


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern, cached; up to 20 ms of a core the first time.

    :raises ValueError: for what RE2 does not support (look-around, back-references), or a pattern that is too large.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"is not a pattern of RE2: {_reason(error)}") from None
    except UnicodeEncodeError:
        raise ValueError("holds a character that cannot be stored") from None

    def matches(text: str) -> bool:
        return compiled.fullmatch(text) is not None

    return Pattern(matches, compiled.programsize)


def _reason(error: Exception) -> str:
    """RE2's reason, without the quoted part of the pattern."""
    raw = error.args[0] if error.args else b""
    reason = (raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)).partition(":")[0]
    if reason in ("invalid perl operator", "invalid escape sequence"):
        reason += "; look-around and back-references are not supported"
    return reason if reason.isprintable() and len(reason) < LONGEST_REASON else "it cannot be compiled"


Reader = Callable[[Any], Any]
Check = Callable[[Any], Any]

LONGEST_INDEXED = 500
"""Code points of a text under a unique rule or an index: PostgreSQL refuses index entries above 2,704 bytes."""

_LENGTHS = frozenset(("min_length", "max_length", "pattern"))
_BOUNDS = frozenset(("min", "max"))
_INDEX = frozenset(("unique", "indexed"))


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of field: its GraphQL scalar, its reader, and its rules beside those of every type."""

    graphql: str
    read: Reader
    rules: frozenset[str]
    default_length: int = 0
    longest: int = 0


KINDS: dict[FieldType, Kind] = {
    FieldType.string: Kind("String", values.read_text, _LENGTHS | _INDEX, 255, 10_000),
    FieldType.text: Kind("String", values.read_text, _LENGTHS, 65_536, 65_536),
    FieldType.integer: Kind("Int", values.read_integer, _BOUNDS | _INDEX),
    FieldType.float: Kind("Float", values.read_float, _BOUNDS | _INDEX),
    FieldType.decimal: Kind("String", values.read_decimal, _BOUNDS | _INDEX),
    FieldType.boolean: Kind("Boolean", values.read_boolean, _INDEX),
    FieldType.date: Kind("Date", values.read_date, _BOUNDS | _INDEX),
    FieldType.datetime: Kind("DateTime", values.read_datetime, _BOUNDS | _INDEX),
    FieldType.email: Kind("String", values.read_email, _LENGTHS | _INDEX, 254, 254),
    FieldType.url: Kind("String", values.read_url, _LENGTHS | _INDEX, values.LONGEST_URL, values.LONGEST_URL),
    FieldType.enum: Kind("String", values.read_text, _INDEX | {"values"}),
    FieldType.json: Kind("JSON", values.read_json, frozenset()),
    FieldType.uuid: Kind("ID", values.read_uuid, _INDEX),
}


def length_limits(field: Field) -> tuple[int, int]:
    """Return the minimum and maximum number of code points of a text field."""
    kind = KINDS[field.type]
    longest = LONGEST_INDEXED if field.unique or field.indexed else kind.longest
    return field.min_length or 0, min(field.max_length or kind.default_length, longest)


def make_check(name: str, field: Field) -> Check:
    """Compile a field's rules to a function from a client's value to the value to store; None stays None.

    It raises ValidationError, which names the field, for a value that breaks a rule, and for None in a required field.
    """
    read, rules = KINDS[field.type].read, _rules(field)

    def check(raw: Any) -> Any:
        if raw is None:
            if field.required:
                raise ValidationError(f"'{name}' is required.", field=name)
            return None
        try:
            value = read(raw)
            for rule in rules:
                rule(value)
        except ValueError as error:
            raise ValidationError(f"'{name}' {error}.", field=name) from None
        return value

    return check


def _rules(field: Field) -> tuple[Callable[[Any], None], ...]:
    kind = KINDS[field.type]
    rules: list[Callable[[Any], None]] = []
    if "max_length" in kind.rules:
        rules.append(_length_rule(*length_limits(field)))
    if field.pattern is not None:
        rules.append(_pattern_rule(field.pattern))
    if field.min is not None:
        rules.append(_least_rule(kind.read(field.min), field.min))
    if field.max is not None:
        rules.append(_most_rule(kind.read(field.max), field.max))
    if field.values is not None:
        rules.append(_values_rule(field.values))
    return tuple(rules)


def _length_rule(least: int, most: int) -> Callable[[str], None]:
    def rule(value: str) -> None:
        if len(value) > most:
            raise ValueError(f"must have at most {most} characters")
        if len(value) < least:
            raise ValueError(f"must have at least {least} characters")

    return rule


def _pattern_rule(pattern: str) -> Callable[[str], None]:
    matches = compile_pattern(pattern).matches

    def rule(value: str) -> None:
        if not matches(value):
            raise ValueError("does not match the required pattern")

    return rule


def _least_rule(least: Any, shown: object) -> Callable[[Any], None]:
    def rule(value: Any) -> None:
        if value < least:
            raise ValueError(f"must be at least {shown}")

    return rule


def _most_rule(most: Any, shown: object) -> Callable[[Any], None]:
    def rule(value: Any) -> None:
        if value > most:
            raise ValueError(f"must be at most {shown}")

    return rule


def _values_rule(values: tuple[str, ...]) -> Callable[[str], None]:
    allowed = frozenset(values)

    def rule(value: str) -> None:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(values)}"[:500])

    return rule
