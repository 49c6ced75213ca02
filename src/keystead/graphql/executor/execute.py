"""Execute one GraphQL request and build its response.

Root fields run one after another: in a mutation as the specification requires, in a query because they share one slot
of the database's queue and gain little from concurrency. Each field's access is checked before its resolver is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from keystead.aio import within
from keystead.context import Context
from keystead.db.interface import SchemaChanged
from keystead.errors import DocumentInvalid, Forbidden, KeysteadError, ServiceUnavailable
from keystead.graphql.documents import DocumentCache, Operation, OutsideSchema
from keystead.graphql.errors import (
    Response,
    check_size,
    error_entry,
    error_response,
    headers_of,
    locations,
    make_response,
    public_error,
)
from keystead.graphql.executor.complete import Faults, Nulled, Path, path_list
from keystead.graphql.executor.cost import check_cost
from keystead.graphql.executor.plan import Plan, RootField
from keystead.graphql.executor.variables import Values, coerce
from keystead.graphql.introspection import INTROSPECTOR
from keystead.graphql.schema import SchemaVersion

_log = structlog.get_logger(__name__)

DEADLINE = 5.0
"""Seconds that an execution may take; fields unfinished by then are cancelled and answered as unavailable."""

ATTEMPTS = 4
"""Attempts in all for an operation whose brand's entities change under it."""

DOCUMENTS = DocumentCache()


def forget(version: SchemaVersion) -> None:
    """Evict everything cached for a schema version that is out of use."""
    DOCUMENTS.forget(version)
    INTROSPECTOR.forget(version)


class Target:
    """The caller of a request and the schema that its document is validated against.

    This class is constant. A subclass may start with a part of the schema (``is_partial``) and complete it in
    :meth:`resolve`, and may read caller and schema again in :meth:`reload` (``can_reload``).
    """

    __slots__ = ("ctx", "is_partial", "version")

    can_reload = False

    def __init__(self, ctx: Context, version: SchemaVersion, *, is_partial: bool = False) -> None:
        self.ctx = ctx
        self.version = version
        self.is_partial = is_partial

    async def resolve(self) -> None:
        """Complete a partial schema, for a document that selects fields which ``version`` lacks."""

    async def reload(self) -> None:
        """Authenticate again and take the current schema."""


async def execute(
    target: Target,
    text: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
    *,
    documents: DocumentCache = DOCUMENTS,
    deadline: float = DEADLINE,
) -> Response:
    """Answer one request.

    When the brand's entities change during the execution, a query, or a mutation that has not changed anything yet, is
    retried on the reloaded target.

    Never raises: an error before execution becomes a response, see :func:`error_response`. The status is 200, or that
    of the first error where every root field failed with an error that has another one (503, 429).
    """
    attempts_left = ATTEMPTS if target.can_reload else 1
    try:
        while True:
            attempts_left -= 1
            try:
                operation = await _find_operation(target, text, operation_name, documents)
                values = coerce(operation.variables, variables, is_secret=operation.is_secret)
                plan = operation.plan(values, text)
                check_cost(plan.cost, values)
                running = _Run(target.ctx, values, text, operation.is_secret, may_retry=attempts_left > 0)
                return running.answer(await running.run(plan, deadline), plan)
            except SchemaChanged as change:
                if not attempts_left:
                    raise
                cause = change.cause
            await target.reload()
            _log.info("graphql.schema_changed", cause=cause, reference_id=target.ctx.request.id)
    except Exception as error:
        return error_response(error, target.ctx.request.id)


async def _find_operation(target: Target, text: str, operation_name: str | None, documents: DocumentCache) -> Operation:
    try:
        return documents.get(target.version, text, operation_name, is_part=target.is_partial)
    except OutsideSchema:
        await target.resolve()
        return documents.get(target.version, text, operation_name)


class _Run:
    """One execution: its data and errors so far."""

    __slots__ = ("_ctx", "_errors", "_failed", "_faults", "_is_secret", "_may_retry", "_text", "_values")

    def __init__(self, ctx: Context, values: Values, text: str, is_secret: bool, *, may_retry: bool = False) -> None:
        self._ctx = ctx
        self._values = values
        self._text = text
        self._is_secret = is_secret
        self._may_retry = may_retry
        self._faults = Faults()
        self._errors: list[dict[str, Any]] = []
        self._failed: list[KeysteadError] = []

    async def run(self, plan: Plan, deadline: float) -> dict[str, Any] | None:
        """Return the ``data`` of the response; None where a non-null root field is null.

        :raises SchemaChanged: when the operation can be retried, because it has changed nothing.
        """
        data: dict[str, Any] = {}
        try:
            await within(deadline, self._fill(data, plan))
        except Nulled:
            return None
        except TimeoutError:
            late = ServiceUnavailable("The operation took too long and was stopped.")
            for field in plan.fields:
                if field.key not in data:
                    data[field.key] = None
                    self._refuse(field, late)
            if not all(field.is_nullable for field in plan.fields):
                return None
        return data

    async def _fill(self, data: dict[str, Any], plan: Plan) -> None:
        size = 0
        for field in plan.fields:
            value = data[field.key] = await self._root(field)
            self._may_retry &= plan.is_query
            if len(plan.fields) > 1:
                # Otherwise ten fields, each of them too large, would all be read before the response is measured.
                size += check_size(value, size)

    async def _root(self, field: RootField) -> Any:
        if field.constant is not None:
            return field.constant
        path: Path = (None, field.key)
        try:
            field.access.check(self._ctx)
            if field.introspects is not None:
                return await self._introspect(field, field.introspects, path)
            value = await field.resolver(self._ctx, field.arguments(self._values), field.selection(self._values))
        except Exception as error:
            if isinstance(error, DocumentInvalid) or (self._may_retry and isinstance(error, SchemaChanged)):
                raise  # an error of the whole request, not of this field
            self._refuse(field, error)
            if not field.is_nullable:
                raise Nulled from None
            return None
        try:
            return field.complete(value, path, self._faults)
        finally:
            if self._faults.found:
                self._report_faults()

    async def _introspect(self, field: RootField, version: SchemaVersion, path: Path) -> msgspec.Raw:
        """Return the cached JSON of ``__schema`` or ``__type``."""

        def complete(node: Any) -> Any:
            faults = Faults()
            value = field.complete(node, path, faults)
            if faults.found:
                raise faults.found[0][2]
            return value

        type_name = field.arguments(self._values).get("name")
        return await INTROSPECTOR.answer(version, self._ctx, field.shape, type_name, complete)

    def _refuse(self, field: RootField, error: Exception) -> None:
        """Add the error of a root field that failed."""
        request_id, denials = self._ctx.request.id, self._ctx.server.denials
        if isinstance(error, Forbidden) and denials is not None:
            denials.note(self._ctx, field.name, error)
        shown = public_error(error, request_id, is_secret=self._is_secret, field=field.key)
        self._failed.append(shown)
        self._errors.append(error_entry(shown, request_id, path=[field.key], where=locations(self._text, field.starts)))

    def _report_faults(self) -> None:
        """Add the errors of results that do not fit the schema."""
        request_id = self._ctx.request.id
        for path, starts, error in self._faults.found:
            keys = path_list(path)
            shown = public_error(error, request_id, is_secret=self._is_secret, field=".".join(map(str, keys)))
            self._errors.append(error_entry(shown, request_id, path=keys, where=locations(self._text, starts)))
        self._faults.found.clear()

    def answer(self, data: dict[str, Any] | None, plan: Plan) -> Response:
        """Build the response from the data of all root fields."""
        if not self._errors:
            return make_response(200, {"data": data}, {}, self._ctx.request.id)
        statuses = [error.status for error in self._failed if error.status != 200]
        status = statuses[0] if len(statuses) == len(plan.fields) else 200
        body = {"data": data, "errors": self._errors}
        return make_response(status, body, headers_of(self._failed), self._ctx.request.id)
