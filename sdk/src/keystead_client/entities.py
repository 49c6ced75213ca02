"""The records of an entity: list, find, create, update, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keystead_client._operations import Select, require_name, selection
from keystead_client.errors import ServerError

SYSTEM_FIELDS = ("id", "integer_id", "created_at", "updated_at")
"""What is selected where nothing is said: every record has these, and ``created_by``. They need no right to read."""

Record = dict[str, Any]
_Asked = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the records; ``total`` and ``last_page`` are None unless they were asked for."""

    data: list[Record]
    current_page: int
    per_page: int
    has_more_pages: bool
    total: int | None = None
    last_page: int | None = None


class Entity:
    """Records of one entity. Every method raises ``KeysteadError``, and ``ValueError`` for what is no list of fields.

    ``select`` names fields, also those that ``create`` and ``update`` return: without it ``id``, ``integer_id``,
    ``created_at`` and ``updated_at``. ``{"customer": ["id", "name"]}`` among them selects fields of a relation, which
    come back as the server gives them: ``record["customer"]["data"]["name"]``.
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
        """One page; ``filter`` and ``pagination`` as in GraphQL, enums as text. A total costs the server a count."""
        return self._documents.page(self._execute(*self._documents.list(select, filter, pagination, with_total)))

    def by_id(self, id: str, select: Select = SYSTEM_FIELDS) -> Record | None:
        """The record, None where there is none."""
        return self._documents.found(self._execute(*self._documents.by_id(id, select)))

    def create(self, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """The new record. Raises ``ValidationError``, ``Conflict``."""
        return self._documents.written("create", self._execute(*self._documents.create(values, select)))

    def update(self, id: str, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """The record as it is after the change. Raises ``NotFound``, ``ValidationError``, ``Conflict``."""
        return self._documents.written("update", self._execute(*self._documents.update(id, values, select)))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete all of these, or none: raises ``NotFound`` where one does not exist."""
        self._execute(*self._documents.delete(ids))


class AsyncEntity:
    """The same for ``await``."""

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
        """One page; ``filter`` and ``pagination`` as in GraphQL, enums as text. A total costs the server a count."""
        return self._documents.page(await self._execute(*self._documents.list(select, filter, pagination, with_total)))

    async def by_id(self, id: str, select: Select = SYSTEM_FIELDS) -> Record | None:
        """The record, None where there is none."""
        return self._documents.found(await self._execute(*self._documents.by_id(id, select)))

    async def create(self, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """The new record. Raises ``ValidationError``, ``Conflict``."""
        return self._documents.written("create", await self._execute(*self._documents.create(values, select)))

    async def update(self, id: str, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """The record as it is after the change. Raises ``NotFound``, ``ValidationError``, ``Conflict``."""
        return self._documents.written("update", await self._execute(*self._documents.update(id, values, select)))

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete all of these, or none: raises ``NotFound`` where one does not exist."""
        await self._execute(*self._documents.delete(ids))


class _Documents:
    """The documents of one entity, and the answers to them."""

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
            f" {{ data {selection(select)} pagination {{ current_page per_page has_more_pages{counted} }} }} }}"
        )
        return document, {"filter": filter, "pagination": pagination}

    def by_id(self, id: str, select: Select) -> _Asked:
        return f"query ($id: ID!) {{ {self._entity}ById(id: $id) {{ data {selection(select)} }} }}", {"id": id}

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
        if not isinstance(given, dict) or not all(_is_said(name, value) for name, value in given.items()):
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
            f"mutation ($input: {self._type_of_input(verb)}!)"
            f" {{ {field}(input: $input) {{ data {selection(select)} }} }}"
        )
        return document, {"input": values}

    def _type_of_input(self, verb: str) -> str:
        return f"{verb.capitalize()}{self._type}Input"

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


def _is_said(name: str, value: object) -> bool:
    """Whether that can be a member of a page."""
    if name == "has_more_pages":
        return isinstance(value, bool)
    return type(value) is int or (value is None and name in ("total", "last_page"))


def _no_page() -> ServerError:
    return ServerError("the server's answer is no page")
