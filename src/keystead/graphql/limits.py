"""Limits on a document's shape, checked in one pass before validation (security §12, item 4).

Validation is quadratic in places, so a document is measured first. The counts of a fragment are memoized, so that a
chain of fragments which doubles at every link is rejected by arithmetic instead of a walk. Only a document known to be
small is then walked field by field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
)

from keystead.errors import DocumentInvalid, MalformedRequest

MAX_TOKENS = 1000
MAX_DEPTH = 10
MAX_FIELDS = 500
MAX_ALIASES = 30
MAX_ROOT_FIELDS = 10
MAX_DIRECTIVES = 4
MAX_VARIABLES = 50
MAX_FRAGMENTS = 20
MAX_REPEATS = 5
MAX_INTROSPECTIONS = 1
MAX_INTROSPECTION_DEPTH = 40
"""Far above any tool's query (15). Bounds the recursion here, as §12 exempts introspection from ``MAX_DEPTH``."""
MAX_NUMBER_LENGTH = 100

INTROSPECTION_FIELDS = frozenset({"__schema", "__type"})

Definition = OperationDefinitionNode | FragmentDefinitionNode


@dataclass(slots=True)
class _Measure:
    """The field count of one definition, and the fragments it spreads, with repetition."""

    fields: int = 0
    spreads: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Place:
    """All fields that share one response key under one merged parent."""

    seen: int = 0
    below: dict[str, _Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """The measured document: root fields of each operation in order, fragments expanded."""

    root_fields: dict[str | None, tuple[str, ...]]
    fields: int
    has_text_literals: bool


def over_limit(limit: str, allowed: int) -> DocumentInvalid:
    """Return the error for a document over a limit."""
    return DocumentInvalid(f"The document is over the limit of {allowed} for {limit.replace('_', ' ')}.", limit=limit)


def measure(document: DocumentNode) -> Shape:
    """Check a parsed document against every limit.

    :raises DocumentInvalid: over a limit, named in ``extensions.limit``, or when fragments form a cycle.
    :raises MalformedRequest: for a literal that the server does not accept; ``extensions.field`` names the argument.
    """
    definitions = [node for node in document.definitions if isinstance(node, Definition)]
    fragments = {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}
    if sum(isinstance(node, FragmentDefinitionNode) for node in definitions) > MAX_FRAGMENTS:
        raise over_limit("fragments", MAX_FRAGMENTS)
    literals = _Literals()
    totals = _Totals({name: _own_numbers(node, literals) for name, node in fragments.items()})
    operations = [node for node in definitions if isinstance(node, OperationDefinitionNode)]
    expanded = sum(totals.expand(_own_numbers(node, literals)) for node in operations)
    expanded += sum(totals.of(name) for name in fragments.keys() - totals.reached)
    if expanded > MAX_FIELDS:
        raise over_limit("fields", MAX_FIELDS)
    walker = _Walker(fragments)
    root_fields = {node.name.value if node.name else None: walker.walk(node) for node in operations}
    for name in fragments.keys() - totals.reached:
        walker.walk(fragments[name])
    return Shape(root_fields, expanded, literals.has_text)


def _own_numbers(definition: Definition, literals: _Literals) -> _Measure:
    """Count the fields of a definition without following its spreads."""
    if len(definition.variable_definitions or ()) > MAX_VARIABLES:
        raise over_limit("variables", MAX_VARIABLES)
    for variable in definition.variable_definitions or ():
        if variable.default_value is not None:
            literals.check(variable.default_value, variable.variable.name.value)
    _check_directives(definition, literals)
    own = _Measure()
    pending: list[SelectionSetNode] = [definition.selection_set]
    while pending:
        for node in pending.pop().selections:
            _check_directives(node, literals)
            if isinstance(node, FieldNode):
                own.fields += 1
                literals.check_arguments(node.arguments)
            elif isinstance(node, FragmentSpreadNode):
                own.spreads.append(node.name.value)
            below = getattr(node, "selection_set", None)
            if below is not None:
                pending.append(below)
    return own


def _check_directives(node: SelectionNode | Definition, literals: _Literals) -> None:
    if len(node.directives or ()) > MAX_DIRECTIVES:
        raise over_limit("directives", MAX_DIRECTIVES)
    for directive in node.directives or ():
        literals.check_arguments(directive.arguments)


class _Literals:
    """Checks every literal of the document by the rules for JSON in the body."""

    def __init__(self) -> None:
        self.has_text = False

    def check_arguments(self, arguments: tuple[ArgumentNode, ...] | None) -> None:
        for argument in arguments or ():
            self.check(argument.value, argument.name.value)

    def check(self, value: ValueNode, name: str) -> None:
        """Check a literal.

        :raises MalformedRequest: for a string with NUL or a lone surrogate, or a number that is too large.
        """
        pending = [value]
        while pending:
            node = pending.pop()
            if isinstance(node, ListValueNode):
                pending.extend(node.values)
            elif isinstance(node, ObjectValueNode):
                pending.extend(one.value for one in node.fields)
            elif isinstance(node, StringValueNode):
                self.has_text = True
                if "\0" in node.value or any("\ud800" <= letter <= "\udfff" for letter in node.value):
                    raise MalformedRequest(f"'{name}' holds a character that is not allowed.", field=name)
            elif isinstance(node, (IntValueNode, FloatValueNode)) and _is_too_large(node.value):
                raise MalformedRequest(f"'{name}' holds a number that is too large.", field=name)


def _is_too_large(number: str) -> bool:
    return len(number) > MAX_NUMBER_LENGTH or not isfinite(float(number))


class _Totals:
    """Memoized field counts of fragments with their spreads expanded."""

    def __init__(self, measures: dict[str, _Measure]) -> None:
        self._measures = measures
        self._known: dict[str, int] = {}
        self._open: set[str] = set()
        self.reached: set[str] = set()

    def expand(self, own: _Measure) -> int:
        """Return the field count of a definition with its spreads expanded, capped just above the limit."""
        total = own.fields
        for name in own.spreads:
            self.reached.add(name)
            total = min(total + self.of(name), MAX_FIELDS + 1)
        return total

    def of(self, name: str) -> int:
        """Return the same for a fragment; 1 for an unknown one, so that every spread counts.

        :raises DocumentInvalid: when it spreads itself. Recursion is at most ``MAX_FRAGMENTS`` deep.
        """
        if name in self._open:
            raise DocumentInvalid(f"The fragment '{name[:80]}' spreads itself.")
        if name not in self._known:
            self._open.add(name)
            own = self._measures.get(name)
            self._known[name] = self.expand(own) if own else 1
            self._open.discard(name)
        return self._known[name]


class _Walker:
    """Walks definitions with their fragments expanded: at most ``MAX_FIELDS`` fields, as checked before."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._introspections = 0
        self._aliases = 0

    def walk(self, definition: Definition) -> tuple[str, ...]:
        """Check one definition; returns the names of its root fields."""
        top = _Place()
        roots: list[str] = []
        pending = [(definition.selection_set, top, 1, MAX_DEPTH)]
        while pending:
            selection_set, place, depth, deepest = pending.pop()
            for node in self._fields(selection_set):
                if depth == 1:
                    roots.append(node.name.value)
                    deepest = self._deepest_below(node)
                if depth > deepest:
                    raise over_limit("depth", MAX_DEPTH)
                here = self._count(node, place)
                if node.selection_set is not None:
                    pending.append((node.selection_set, here, depth + 1, deepest))
        if len(roots) > MAX_ROOT_FIELDS and isinstance(definition, OperationDefinitionNode):
            raise over_limit("root_fields", MAX_ROOT_FIELDS)
        return tuple(roots)

    def _count(self, node: FieldNode, place: _Place) -> _Place:
        if node.alias is not None:
            self._aliases += 1
            if self._aliases > MAX_ALIASES:
                raise over_limit("aliases", MAX_ALIASES)
        here = place.below.setdefault((node.alias or node.name).value, _Place())
        here.seen += 1
        if here.seen > MAX_REPEATS:
            raise over_limit("repeats", MAX_REPEATS)
        return here

    def _deepest_below(self, node: FieldNode) -> int:
        if node.name.value not in INTROSPECTION_FIELDS:
            return MAX_DEPTH
        self._introspections += 1
        if self._introspections > MAX_INTROSPECTIONS:
            raise over_limit("introspection", MAX_INTROSPECTIONS)
        return MAX_INTROSPECTION_DEPTH

    def _fields(self, selection_set: SelectionSetNode) -> Iterator[FieldNode]:
        """Yield the fields of a selection set, including those of its fragments."""
        pending: list[SelectionNode] = list(reversed(selection_set.selections))
        while pending:
            node = pending.pop()
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                pending.extend(reversed(node.selection_set.selections))
            elif isinstance(node, FragmentSpreadNode) and node.name.value in self._fragments:
                pending.extend(reversed(self._fragments[node.name.value].selection_set.selections))
