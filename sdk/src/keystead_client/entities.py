"""The records of an entity: list, find, create, update, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from keystead_client._operations import require_fields, require_name
from keystead_client._single_flight import blocking
from keystead_client.errors import ServerError

Select: TypeAlias = Sequence["str | Mapping[str, Select]"]
"""Fields by name; ``{"customer": ["id", "name"]}`` selects fields of a relation."""

SYSTEM_FIELDS = ("id", "integer_id", "created_at", "updated_at")
"""The default of ``select``: every record has these, and ``created_by``. They need no permission to read."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of records; ``total`` and ``last_page`` are None without ``with_total``."""

    data: list[Record]
    current_page: int
    per_page: int
    has_more_pages: bool
    total: int | None = None
    last_page: int | None = None


class _Records:
    def __init__(self, entity: str, execute: Callable[[str, Mapping[str, Any]], Awaitable[Record]]) -> None:
        self._entity = require_name(entity)
        self._type = entity[0].upper() + entity[1:]
        self._execute = execute

    async def _write(self, verb: str, values: Mapping[str, Any], select: Select) -> Record:
        document = (
            f"mutation ($input: {verb.capitalize()}{self._type}Input!)"
            f" {{ {verb}{self._type}(input: $input) {{ data {_selection(select)} }} }}"
        )
        data = await self._execute(document, {"input": dict(values)})
        return _member(_member(data, f"{verb}{self._type}"), "data")


class AsyncEntity(_Records):
    """The records of one entity.

    ``select`` names the fields of the result, also of ``create`` and ``update``; default: ``id``, ``integer_id``,
    ``created_at`` and ``updated_at``. ``{"customer": ["id", "name"]}`` selects fields of a relation, as in
    ``record["customer"]["data"]["name"]``.

    :raises KeysteadError: by every method.
    :raises ValueError: ``select`` is no list of fields.
    """

    async def list(
        self,
        select: Select = SYSTEM_FIELDS,
        filter: Mapping[str, Any] | None = None,
        pagination: Mapping[str, int] | None = None,
        *,
        with_total: bool = False,
    ) -> Page:
        """One page; ``filter`` and ``pagination`` as in GraphQL, enums as text. ``with_total`` costs a count."""
        counted = " total last_page" if with_total else ""
        document = (
            f"query ($filter: FilterInput, $pagination: PaginationInput)"
            f" {{ {self._entity}List(filter: $filter, pagination: $pagination)"
            f" {{ data {_selection(select)} pagination {{ current_page per_page has_more_pages{counted} }} }} }}"
        )
        data = await self._execute(document, {"filter": filter, "pagination": pagination})
        return _page(_member(data, f"{self._entity}List"))

    async def by_id(self, id: str, select: Select = SYSTEM_FIELDS) -> Record | None:
        """The record; None if it does not exist."""
        field = f"{self._entity}ById"
        data = await self._execute(
            f"query ($id: ID!) {{ {field}(id: $id) {{ data {_selection(select)} }} }}", {"id": id}
        )
        return None if data.get(field) is None else _member(_member(data, field), "data")

    async def create(self, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """Create a record. Raises ``ValidationError``, ``Conflict``."""
        return await self._write("create", values, select)

    async def update(self, id: str, values: Mapping[str, Any], select: Select = SYSTEM_FIELDS) -> Record:
        """Update a record. Raises ``NotFound``, ``ValidationError``, ``Conflict``."""
        return await self._write("update", {**values, "id": id}, select)

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete all of these atomically. Raises ``NotFound`` if one does not exist."""
        if isinstance(ids, str):
            raise TypeError("ids: a list of ids, not the text of one")
        document = f"mutation ($ids: [ID!]!) {{ delete{self._type}(ids: $ids) {{ data {{ success }} }} }}"
        await self._execute(document, {"ids": [*ids]})


class Entity(_Records):
    """As :class:`AsyncEntity`, without ``await``."""

    def __init__(self, entity: str, execute: Callable[[str, Mapping[str, Any]], Record]) -> None:
        async def run(document: str, variables: Mapping[str, Any]) -> Record:
            return execute(document, variables)

        super().__init__(entity, run)

    list = blocking(AsyncEntity.list)
    by_id = blocking(AsyncEntity.by_id)
    create = blocking(AsyncEntity.create)
    update = blocking(AsyncEntity.update)
    delete = blocking(AsyncEntity.delete)


def _member(data: Record, field: str) -> Record:
    member = data.get(field)
    if not isinstance(member, dict):
        raise ServerError(f"the server's answer has no {field}")
    return member


def _page(found: Record) -> Page:
    records, given = found.get("data"), found.get("pagination")
    is_list = isinstance(records, list) and all(isinstance(record, dict) for record in records)
    if is_list and isinstance(given, dict) and all(_is_valid(name, value) for name, value in given.items()):
        with suppress(TypeError):
            return Page(found["data"], **given)
    raise ServerError("the server's answer is no page")


def _is_valid(name: str, value: object) -> bool:
    """Whether a page may have this member."""
    if name == "has_more_pages":
        return isinstance(value, bool)
    return type(value) is int or (value is None and name in ("total", "last_page"))


def _selection(select: Select) -> str:
    """``{ id customer { data { name } } }``."""
    parts: list[str] = []
    for field in require_fields(select):
        if isinstance(field, str):
            parts.append(require_name(field))
        else:
            parts += [f"{require_name(relation)} {{ data {_selection(below)} }}" for relation, below in field.items()]
    return "{ " + " ".join(parts) + " }"
