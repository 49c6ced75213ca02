"""Compile a document's text to an ``Operation`` (parse, limits, validation, plan), with an LRU cache of operations.

Security §12: operations are cached by (schema version, text, operation name). A document with an operation marked
``@secret`` is never kept as text; if it has no string literals (its secrets are variables), its digest is the key.
Of an invalid document the digest and the problems are cached; of one that fails otherwise, nothing. No part of a
document is ever logged.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256

from graphql import DocumentNode, OperationDefinitionNode

from keystead.errors import DocumentInvalid, MalformedRequest
from keystead.graphql.errors import DocumentRefused, Problem
from keystead.graphql.executor.collect import directive_variables
from keystead.graphql.executor.plan import Plan, compile_plan
from keystead.graphql.executor.variables import Values, Variable, declared_variables
from keystead.graphql.limits import Shape, measure, over_limit
from keystead.graphql.parsing import parse
from keystead.graphql.schema import SchemaVersion
from keystead.graphql.validation import require_valid

MAX_PLANS = 16
"""Plans cached per operation: one for each combination of its ``@skip`` and ``@include`` values."""

MAX_REFUSED = 128
"""Invalid documents cached, so that a client which repeats one costs next to nothing."""


@dataclass(slots=True, eq=False)
class Operation:
    """One validated operation of a document. Does not hold the text: callers pass it where it is needed."""

    version: SchemaVersion
    name: str | None
    variables: tuple[Variable, ...]
    conditions: tuple[str, ...]
    is_secret: bool
    has_text_literals: bool
    weight: int
    _plans: OrderedDict[tuple[bool, ...], Plan] = field(default_factory=OrderedDict)

    def plan(self, values: Values, text: str) -> Plan:
        """Return the plan for these variables. ``text`` is the document that the operation was compiled from.

        :raises DocumentInvalid: when the plan for these conditions is over the cost limit.
        """
        answers = tuple(self._holds(name, values) for name in self.conditions)
        plan = self._plans.get(answers)
        if plan is None:
            document = parse(text)
            operation = _choose(document, self.name)
            plan = compile_plan(self.version, document, operation, dict(zip(self.conditions, answers, strict=True)))
            self._plans[answers] = plan
            if len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
        return plan

    def _holds(self, name: str, values: Values) -> bool:
        value = values.get(name)
        if value is None and any(variable.name == name for variable in self.variables):
            raise MalformedRequest(f"Variable '${name}' decides a directive and must not be null.", field=name)
        return bool(value)


class OutsideSchema(Exception):
    """The document selects root fields that a partial schema lacks. Handled in the executor; no client sees it."""


class DocumentCache:
    """LRU cache of operations by (schema version, text, operation name)."""

    def __init__(self, size: int = 1000, max_text: int = 8192, max_weight: int = 20_000) -> None:
        """
        :param size: operations kept.
        :param max_text: longest text kept, in code points.
        :param max_weight: sum of the expanded fields of all operations, counted per plan; a field takes 1 to 2 KiB.
        """
        self._size = size
        self._max_text = max_text
        self._max_weight = max_weight
        self._weight = 0
        self._operations: OrderedDict[tuple[int, str | bytes, str | None], Operation] = OrderedDict()
        self._rejected: OrderedDict[tuple[int, bytes, str | None, bool], tuple[Problem, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._operations)

    def forget(self, version: SchemaVersion) -> None:
        """Evict the operations of a schema version out of use, which would keep all of it in memory."""
        for key in [key for key in self._operations if key[0] == version.serial]:
            self._weight -= self._operations.pop(key).weight
        for refused in [key for key in self._rejected if key[0] == version.serial]:
            del self._rejected[refused]

    def get(self, version: SchemaVersion, text: str, operation_name: str | None, *, is_part: bool = False) -> Operation:
        """Return the operation of a document, validated against a schema version.

        :param is_part: the version is only a part of the schema of the request.
        :raises OutsideSchema: when ``is_part`` and the document selects a root field that the version lacks.
        :raises DocumentUnreadable: when the text does not parse.
        :raises DocumentInvalid: when it is over a limit, invalid, or has no operation of the name.
        :raises MalformedRequest: for a literal that the server does not accept.
        """
        kept = self._operations
        key: tuple[int, str | bytes, str | None] = (version.serial, text, operation_name)
        found = kept.get(key)
        if found is not None:
            kept.move_to_end(key)
            return found
        digest_key = (version.serial, sha256(text.encode("utf-8", "surrogatepass")).digest(), operation_name)
        found = kept.get(digest_key)
        if found is not None:
            kept.move_to_end(digest_key)
            return found
        # A field that a partial schema lacks makes the document invalid only if the partial schema is final.
        refused_key = (*digest_key, is_part)
        problems = self._rejected.get(refused_key)
        if problems is not None:
            self._rejected.move_to_end(refused_key)
            raise DocumentRefused(problems, text)
        try:
            operation = read_operation(version, text, operation_name, is_part=is_part)
        except DocumentRefused as refusal:
            if len(text) <= self._max_text:
                self._rejected[refused_key] = refusal.problems
                if len(self._rejected) > MAX_REFUSED:
                    self._rejected.popitem(last=False)
            raise
        if not operation.is_secret:
            self._keep(key, text, operation)
        elif not operation.has_text_literals:
            self._keep(digest_key, text, operation)
        return operation

    def _keep(self, key: tuple[int, str | bytes, str | None], text: str, operation: Operation) -> None:
        if len(text) > self._max_text:
            return
        self._operations[key] = operation
        self._weight += operation.weight
        while len(self._operations) > self._size or self._weight > self._max_weight:
            self._weight -= self._operations.popitem(last=False)[1].weight


def read_operation(
    version: SchemaVersion, text: str, operation_name: str | None, *, is_part: bool = False
) -> Operation:
    """Parse, check and validate a document; compile the plan unless it depends on ``@skip`` or ``@include``.

    :raises DocumentUnreadable: as :meth:`DocumentCache.get`, and its other errors.
    """
    document = parse(text)
    shape = measure(document)
    chosen = _choose(document, operation_name)
    name = chosen.name.value if chosen.name else None
    if is_part and not all(map(version.root_names.issuperset, shape.root_fields.values())):
        raise OutsideSchema
    roots = shape.root_fields[name]
    if len(roots) != 1 and not version.alone_names.isdisjoint(roots):
        raise over_limit("credential_operations", 1)
    # For the whole document: an operation that is not executed may contain a secret too.
    is_secret = any(not version.secret_names.isdisjoint(fields) for fields in shape.root_fields.values())
    require_valid(version.schema, document, text, hides_values=is_secret)
    conditions = directive_variables(document)
    operation = Operation(
        version,
        name,
        declared_variables(version.schema, chosen),
        conditions,
        is_secret,
        shape.has_text_literals,
        _weight(shape, len(conditions)),
    )
    if not operation.conditions:
        operation.plan({}, text)
    return operation


def _weight(shape: Shape, conditions: int) -> int:
    """The expanded fields of all plans that the operation may cache."""
    return (1 + shape.fields) * min(1 << conditions, MAX_PLANS)


def _choose(document: DocumentNode, operation_name: str | None) -> OperationDefinitionNode:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if operation_name:
        operations = [node for node in operations if node.name is not None and node.name.value == operation_name]
        if not operations:
            raise DocumentInvalid("The document has no operation of the name given in operationName.")
    if not operations:
        raise DocumentInvalid("The document has no operation.")
    if len(operations) > 1:
        raise DocumentInvalid("The document has several operations: name one in operationName.")
    return operations[0]
