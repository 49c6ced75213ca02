"""Parse definitions of entities, from JSON or TOML 1.0 (contract §5). Strict; errors name the exact path."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any, NoReturn, get_type_hints

import msgspec

from keystead.entities.fields import (
    KINDS,
    LONGEST_INDEXED,
    LONGEST_PATTERN,
    Kind,
    compile_pattern,
    length_limits,
    make_check,
)
from keystead.entities.model import Entity, Field, Relation
from keystead.entities.names import require_entity_name, require_field_name
from keystead.entities.values import read_text
from keystead.errors import BadUserInput, ValidationError
from keystead.permissions import is_permission

MOST_FIELDS = 100
MOST_VALUES = 200
LONGEST_VALUE = 100
MOST_PERMISSIONS = 20
MOST_INSTRUCTIONS = 1 << 16
"""RE2 instructions of all patterns of one definition; compiling them takes about 30 ms of a worker thread."""
MOST_STEPS = 1 << 27
"""Instructions of a pattern times characters of its field's longest value: at worst about 1.5 s of a thread."""

_PARTS = ("fields", "relations")
_OF_EVERY_TYPE = frozenset(("type", "required", "default", "read", "write"))
_FIELD_KEYS = get_type_hints(Field)
_RELATION_KEYS = get_type_hints(Relation)


def parse_definition(raw: object) -> dict[str, Entity]:
    """Parse the JSON form, ``{"customer": {"fields": {...}, "relations": {...}}}``; returns entities by name.

    :raises BadUserInput: for the first fault; ``field`` is its path, such as ``customer.fields.email.typ``.
    """
    entities = _object(raw, "definition")
    if not entities:
        _refuse("definition", "A definition names at least one entity.")
    patterns = _Patterns()
    return {name: _entity(name, body, patterns) for name, body in entities.items()}


class _Patterns:
    """Compiles the patterns of a definition within a common budget."""

    def __init__(self) -> None:
        self._left = MOST_INSTRUCTIONS

    def check(self, pattern: str, longest: int) -> None:
        """Compile the pattern of a field whose values have at most ``longest`` characters.

        :raises ValueError: for a pattern that RE2 rejects or that would take too long on the longest value.
        """
        size = compile_pattern(pattern).size
        if size * longest > MOST_STEPS:
            raise ValueError("would take too long on the longest value: set 'max_length', or write a simpler one")
        self._left -= size
        if self._left < 0:
            raise ValueError("exceeds the limit for all patterns of this definition")


def _entity(name: str, raw: object, patterns: _Patterns) -> Entity:
    require_entity_name(name, name[:80])
    body = _object(raw, name)
    _only(body, _PARTS, name)
    path = f"{name}.fields"
    fields = _object(body.get("fields"), path)
    if not 1 <= len(fields) <= MOST_FIELDS:
        _refuse(path, f"An entity has 1 to {MOST_FIELDS} fields.")
    relations = _object(body.get("relations", {}), f"{name}.relations")
    if both := sorted(fields.keys() & relations.keys()):
        _refuse(f"{name}.relations.{both[0]}", f"'{both[0]}' is already a field.")
    return Entity(
        name,
        {field: _field(field, rules, f"{path}.{field[:80]}", patterns) for field, rules in fields.items()},
        {link: _relation(link, rules, f"{name}.relations.{link[:80]}") for link, rules in relations.items()},
    )


def _field(name: str, raw: object, path: str, patterns: _Patterns) -> Field:
    require_field_name(name, path)
    rules = _object(raw, path)
    field: Field = _struct(Field, rules, _FIELD_KEYS, path)
    kind = KINDS[field.type]
    for key, value in rules.items():
        if value is not None and key not in _OF_EVERY_TYPE and key not in kind.rules:
            _refuse(f"{path}.{key}", f"A field of type '{field.type}' has no '{key}'.")
    _check_lengths(field, kind, path)
    _check_pattern(field, path, patterns)
    _check_values(field, kind, path)
    _check_bounds(field, kind, path)
    _check_permissions(field.read, f"{path}.read")
    _check_permissions(field.write, f"{path}.write")
    _check_default(name, field, path)
    return field


def _relation(name: str, raw: object, path: str) -> Relation:
    require_field_name(name, path)
    relation: Relation = _struct(Relation, _object(raw, path), _RELATION_KEYS, path)
    require_entity_name(relation.to, f"{path}.to")
    if relation.inverse is not None:
        require_field_name(relation.inverse, f"{path}.inverse")
    return relation


def _struct(kind: type[Any], given: Mapping[str, Any], known: Mapping[str, Any], path: str) -> Any:
    """Convert to a Field or Relation, value by value, so that errors name the exact path."""
    _only(given, known, path)
    kept = {}
    for key, value in given.items():
        try:
            kept[key] = msgspec.convert(value, known[key])
        except (msgspec.ValidationError, TypeError) as error:
            hint = f"known: {', '.join(KINDS)}" if key == "type" else str(error).partition(" - ")[0]
            _refuse(f"{path}.{key}", f"'{key}' has an invalid value ({hint}).", cause=str(error))
    first = kind.__struct_fields__[0]
    if first not in kept:
        _refuse(f"{path}.{first}", f"'{first}' is missing.")
    return kind(**kept)


def _check_lengths(field: Field, kind: Kind, path: str) -> None:
    if field.max_length is not None:
        longest = LONGEST_INDEXED if field.unique or field.indexed else kind.longest
        if not 1 <= field.max_length <= longest:
            _refuse(f"{path}.max_length", f"'max_length' must be between 1 and {longest} here.")
    if field.min_length is not None and not 0 <= field.min_length <= length_limits(field)[1]:
        _refuse(f"{path}.min_length", "'min_length' must be between 0 and the largest length.")


def _check_pattern(field: Field, path: str, patterns: _Patterns) -> None:
    if field.pattern is None:
        return
    if len(field.pattern) > LONGEST_PATTERN:
        _refuse(f"{path}.pattern", f"'pattern' has at most {LONGEST_PATTERN} characters.")
    try:
        patterns.check(field.pattern, length_limits(field)[1])
    except ValueError as error:
        _refuse(f"{path}.pattern", f"'pattern' {error}.")


def _check_values(field: Field, kind: Kind, path: str) -> None:
    if "values" not in kind.rules:
        return
    path = f"{path}.values"
    values = field.values or ()
    if not 1 <= len(values) <= MOST_VALUES or len(set(values)) != len(values):
        _refuse(path, f"An enum lists 1 to {MOST_VALUES} different 'values'.")
    for value in values:
        if not 1 <= len(value) <= LONGEST_VALUE:
            _refuse(path, f"Each of 'values' has 1 to {LONGEST_VALUE} characters.")
        try:
            read_text(value)
        except ValueError as error:
            _refuse(path, f"One of 'values' {error}.")


def _check_bounds(field: Field, kind: Kind, path: str) -> None:
    bounds = {}
    for key in ("min", "max"):
        bound = getattr(field, key)
        if bound is not None:
            try:
                bounds[key] = kind.read(bound)
            except ValueError as error:
                _refuse(f"{path}.{key}", f"'{key}' {error}.")
    if len(bounds) == 2 and bounds["min"] > bounds["max"]:
        _refuse(f"{path}.max", "'max' is less than 'min'.")


def _check_permissions(names: tuple[str, ...] | None, path: str) -> None:
    if names is None:
        return
    if not 1 <= len(names) <= MOST_PERMISSIONS:
        _refuse(path, f"List 1 to {MOST_PERMISSIONS} permissions, or leave out the key.")
    for name in names:
        if not is_permission(name):
            _refuse(path, f"'{name[:80]}' is not a permission.")


def _check_default(name: str, field: Field, path: str) -> None:
    if field.default is None:
        return
    try:
        make_check(name, field)(field.default)
    except ValidationError as error:
        _refuse(f"{path}.default", f"The default breaks the field's rules: {error.message}")


def _object(raw: object, path: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
        _refuse(path, f"'{path[:200]}' must be an object (a table, in TOML).")
    return raw


def _only(given: Mapping[str, Any], known: Mapping[str, Any] | tuple[str, ...], path: str) -> None:
    for key in given:
        if key not in known:
            _refuse(f"{path}.{key[:80]}", f"'{key[:80]}' is not known here; known: {', '.join(known)}.")


def _refuse(path: str, message: str, *, cause: str | None = None) -> NoReturn:
    raise BadUserInput(message, field=path, cause=cause)


LARGEST_FILE = 1 << 20
"""Characters."""


def parse_file(text: str) -> dict[str, Any]:
    """Parse the TOML of a definition file to its JSON form; dates and times become ISO 8601 strings.

    :raises BadUserInput: for invalid TOML; the message names the place.
    """
    if len(text) > LARGEST_FILE:
        raise BadUserInput("The definition file is larger than 1 MiB.", field="definition")
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadUserInput(f"The definition file is not valid TOML: {error}", field="definition") from None
    plain: dict[str, Any] = _plain(document)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return value
