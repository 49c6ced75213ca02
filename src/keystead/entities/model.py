"""Entities, their fields and relations, as a brand's admin defines them. Plain values; contract §5."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class FieldType(StrEnum):
    """The types of the definition file."""

    string = "string"
    text = "text"
    integer = "integer"
    float = "float"
    decimal = "decimal"
    boolean = "boolean"
    date = "date"
    datetime = "datetime"
    email = "email"
    url = "url"
    enum = "enum"
    json = "json"
    uuid = "uuid"


class OnDelete(StrEnum):
    """What happens to records that refer to a deleted one."""

    restrict = "restrict"
    cascade = "cascade"
    set_null = "set_null"


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A field with its rules. None: not set in the definition."""

    type: FieldType
    required: bool = False
    unique: bool = False
    indexed: bool = False
    default: Any = None
    values: tuple[str, ...] | None = None
    min: Any = None
    max: Any = None
    min_length: int | None = None
    """In code points, as ``max_length``."""
    max_length: int | None = None
    pattern: str | None = None
    """The whole value must match; RE2 syntax."""
    read: tuple[str, ...] | None = None
    """Permissions of which one suffices to read the field; None: as the entity."""
    write: tuple[str, ...] | None = None


class Relation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A reference to the entity ``to``; ``inverse`` is its name on the other side."""

    to: str
    many: bool = False
    inverse: str | None = None
    on_delete: OnDelete = OnDelete.restrict


class Entity(msgspec.Struct, frozen=True):
    """A record type."""

    name: str
    fields: Mapping[str, Field]
    relations: Mapping[str, Relation] = {}

    def as_definition(self) -> dict[str, Any]:
        """Return its part of the definition file as JSON."""
        definition: dict[str, Any] = {"fields": msgspec.to_builtins(self.fields)}
        if self.relations:
            definition["relations"] = msgspec.to_builtins(self.relations)
        return definition

    @staticmethod
    def from_stored(name: str, definition: Mapping[str, Any]) -> Entity:
        """Read what :meth:`as_definition` wrote, without checks: the registry holds checked definitions."""
        return msgspec.convert({"name": name, **definition}, Entity)


class StoredEntity(msgspec.Struct, frozen=True):
    """An entity in the registry."""

    id: str
    entity: Entity
    created_at: datetime
    updated_at: datetime
