"""The records of an entity: list, find, create, update, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from keystead_client._operations import require_fields, require_name
from keystead_client.errors import ServerError

Select: TypeAlias = Sequence["str | Mapping[str, Select]"]
"""Fields by name; ``{"customer": ["id", "name"]}`` selects fields of a relation."""

SYSTEM_FIELDS = ("id", "integer_id", "created_at", "updated_at")
"""The default of ``select``: every record has these, and ``created_by``. They need no permission to read."""

Record = dict[str, Any]
_Asked = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of records; ``total`` and ``last_page`` are None without ``with_total``."""

    data: list[Record]
    current_page: int
    per_page: int
    has_more_pages: bool
    total: int | None = None
    last_page: int | None = None


class Entity:
    """The records of one entity.

    ``select`` names the fields of the result, also of ``create`` and ``update``; default: ``id``, ``integer_id``,
    ``created_at`` and ``updated_at``. ``{"customer": ["id", "name"]}`` selects fields of a relation, as in
    ``record["customer"]["data"]["name"]``.

    :raises KeysteadError: by every method.
    :raises ValueError: ``select`` is no list of fields.
    """

    def __init__(self, entity: str, execute: Callable[[str, Mapping[str, Any]], Record]) -> None:
        self._documents = _Documents(entity)
        self._execute = execute

    def list(
        self,
        select: Select = SYSTEM_FIELDS,
        filter: Mapping[str, Any] | None = None,
        pagination: Mapping[str, int] | None = None,
        *,
        with_total: bool = False,
    ) -> Page:
        """One page; ``filter`` and ``pagination`` as in GraphQL, enums as text. ``with_total`` costs a count."""
        return self._documents.page(self._execute(*self._documents.list(select, filter, pagination, with_total)))

    def by_id(self, id: str, select: Select = SYSTEM_FIELDS) -> Record | None:
        """The record; None if it does not exist."""
        return self._documents.found(self._execute(*self._documents.by_id(id, select)))

    def create(self, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """Create a record. Raises ``ValidationError``, ``Conflict``."""
        return self._documents.written("create", self._execute(*self._documents.create(values, select)))

    def update(self, id: str, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """Update a record. Raises ``NotFound``, ``ValidationError``, ``Conflict``."""
        return self._documents.written("update", self._execute(*self._documents.update(id, values, select)))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete all of these atomically. Raises ``NotFound`` if one does not exist."""
        self._execute(*self._documents.delete(ids))


class AsyncEntity:
    """As :class:`Entity`, with ``await``."""

    def __init__(self, entity: str, execute: Callable[[str, Mapping[str, Any]], Awaitable[Record]]) -> None:
        self._documents = _Documents(entity)
        self._execute = execute

    async def list(
        self,
        select: Select = SYSTEM_FIELDS,
        filter: Mapping[str, Any] | None = None,
        pagination: Mapping[str, int] | None = None,
        *,
        with_total: bool = False,
    ) -> Page:
        """One page; ``filter`` and ``pagination`` as in GraphQL, enums as text. ``with_total`` costs a count."""
        return self._documents.page(await self._execute(*self._documents.list(select, filter, pagination, with_total)))

    async def by_id(self, id: str, select: Select = SYSTEM_FIELDS) -> Record | None:
        """The record; None if it does not exist."""
        return self._documents.found(await self._execute(*self._documents.by_id(id, select)))

    async def create(self, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """Create a record. Raises ``ValidationError``, ``Conflict``."""
        return self._documents.written("create", await self._execute(*self._documents.create(values, select)))

    async def update(self, id: str, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """Update a record. Raises ``NotFound``, ``ValidationError``, ``Conflict``."""
        return self._documents.written("update", await self._execute(*self._documents.update(id, values, select)))

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete all of these atomically. Raises ``NotFound`` if one does not exist."""
        await self._execute(*self._documents.delete(ids))


class _Documents:
    """The documents of one entity, and the parsing of their answers."""

    def __init__(self, entity: str) -> None:
        self._entity = require_name(entity)
        self._type = entity[0].upper() + entity[1:]

    def list(
        self, select: Select, filter: Mapping[str, Any] | None, pagination: Mapping[str, int] | None, with_total: bool
    ) -> _Asked:
        counted = " total last_page" if with_total else ""
        document = (
            f"query ($filter: FilterInput, $pagination: PaginationInput)"
            f" {{ {self._entity}List(filter: $filter, pagination: $pagination)"
            f" {{ data {_selection(select)} pagination {{ current_page per_page has_more_pages{counted} }} }} }}"
        )
        return document, {"filter": filter, "pagination": pagination}

    def by_id(self, id: str, select: Select) -> _Asked:
        return f"query ($id: ID!) {{ {self._entity}ById(id: $id) {{ data {_selection(select)} }} }}", {"id": id}

    def create(self, values: Mapping[str, Any], select: Select) -> _Asked:
        return self._write("create", dict(values), select)

    def update(self, id: str, values: Mapping[str, Any], select: Select) -> _Asked:
        return self._write("update", {**values, "id": id}, select)

    def delete(self, ids: Sequence[str]) -> _Asked:
        if isinstance(ids, str):
            raise TypeError("ids: a list of ids, not the text of one")
        return f"mutation ($ids: [ID!]!) {{ delete{self._type}(ids: $ids) {{ data {{ success }} }} }}", {"ids": [*ids]}

    def page(self, data: Record) -> Page:
        found = self._member(data, f"{self._entity}List")
        records, given = found.get("data"), found.get("pagination")
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise _no_page()
        if not isinstance(given, dict) or not all(_is_valid(name, value) for name, value in given.items()):
            raise _no_page()
        try:
            return Page(records, **given)
        except TypeError:
            raise _no_page() from None

    def found(self, data: Record) -> Record | None:
        if data.get(f"{self._entity}ById") is None:
            return None
        return self._record(data, f"{self._entity}ById")

    def written(self, verb: str, data: Record) -> Record:
        return self._record(data, f"{verb}{self._type}")

    def _write(self, verb: str, values: Record, select: Select) -> _Asked:
        field = f"{verb}{self._type}"
        document = (
            f"mutation ($input: {verb.capitalize()}{self._type}Input!)"
            f" {{ {field}(input: $input) {{ data {_selection(select)} }} }}"
        )
        return document, {"input": values}

    def _record(self, data: Record, field: str) -> Record:
        record = self._member(data, field).get("data")
        if not isinstance(record, dict):
            raise ServerError(f"the server's answer has no {field}")
        return record

    def _member(self, data: Record, field: str) -> Record:
        member = data.get(field)
        if not isinstance(member, dict):
            raise ServerError(f"the server's answer has no {field}")
        return member


def _is_valid(name: str, value: object) -> bool:
    """Whether a page may have this member."""
    if name == "has_more_pages":
        return isinstance(value, bool)
    return type(value) is int or (value is None and name in ("total", "last_page"))


def _no_page() -> ServerError:
    return ServerError("the server's answer is no page")


def _selection(select: Select) -> str:
    """``{ id customer { data { name } } }``."""
    parts: list[str] = []
    for field in require_fields(select):
        if isinstance(field, str):
            parts.append(require_name(field))
        else:
            parts += [f"{require_name(relation)} {{ data {_selection(below)} }}" for relation, below in field.items()]
    return "{ " + " ".join(parts) + " }"
