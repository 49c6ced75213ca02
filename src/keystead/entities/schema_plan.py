"""Plan of a schema change: the steps from the registry to a definition, and which are rejected. Pure; contract §5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec

from keystead.entities.model import Entity, Field, FieldType

_ANY_TEXT = frozenset((FieldType.email, FieldType.url, FieldType.enum, FieldType.uuid))
_LOSSLESS: dict[FieldType, frozenset[FieldType]] = {
    FieldType.string: _ANY_TEXT,
    FieldType.text: _ANY_TEXT | {FieldType.string},
}
"""Lossless conversions: a type, and the types whose stored values are valid values of it."""


LOSES_DATA = "The field is missing from the definition: dropping it loses its values. Set 'allow_data_loss' to drop it."


class Action(StrEnum):
    """One kind of step."""

    create_entity = "create_entity"
    add_field = "add_field"
    change_field = "change_field"
    drop_field = "drop_field"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of records that decide about one step."""

    records: int = 0
    """All records."""
    filled: int = 0
    """Records with a value in the field."""
    repeated: int = 0
    """Values that more than one record has."""
    unlisted: int = 0
    """Records with a value that is missing from the new ``values`` of an enum."""
    oversized: int = 0
    """Records with a text too long for the new index."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one entity or field; ``old`` and ``new`` are the field before and after it."""

    entity: str
    action: Action
    field: str | None = None
    old: Field | None = None
    new: Field | None = None
    rows_affected: int | None = None
    loses_data: bool = False
    refused: str | None = None
    """The reason for a rejection, else None."""


class Plan(msgspec.Struct, frozen=True):
    """All steps in order. Nothing is applied if one of them is rejected."""

    steps: tuple[Step, ...]
    schema_version: int
    applied: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether any step is rejected."""
        return any(step.refused is not None for step in self.steps)


def compare(current: Mapping[str, Entity], wanted: Iterable[Entity]) -> tuple[Step, ...]:
    """Return the steps from ``current`` to ``wanted``; other entities do not change."""
    return tuple(step for entity in wanted for step in _steps(current.get(entity.name), entity))


def _steps(old: Entity | None, new: Entity) -> Iterator[Step]:
    if old is None:
        yield Step(entity=new.name, action=Action.create_entity, rows_affected=0)
        return
    for name, field in old.fields.items():
        if name not in new.fields:
            yield Step(entity=new.name, field=name, action=Action.drop_field, old=field, loses_data=True)
    for name, field in new.fields.items():
        before = old.fields.get(name)
        if before is None:
            yield Step(entity=new.name, field=name, action=Action.add_field, new=field)
        elif before != field:
            yield Step(entity=new.name, field=name, action=Action.change_field, old=before, new=field)


def judge(step: Step, facts: Facts, *, allow_data_loss: bool) -> Step:
    """Return the step with its affected rows and, if it is rejected, the reason."""
    old, new = step.old, step.new
    if step.action is Action.drop_field:
        refused = None if allow_data_loss else LOSES_DATA
        return msgspec.structs.replace(step, rows_affected=facts.filled, refused=refused)
    if step.action is Action.add_field and new is not None:
        rows = 0 if new.default is None else facts.records
        return msgspec.structs.replace(step, rows_affected=rows, refused=_why_not_added(new, facts))
    if old is not None and new is not None:
        rows = facts.records - facts.filled if fills_gaps(old, new) else 0
        return msgspec.structs.replace(step, rows_affected=rows, refused=_why_not_changed(old, new, facts))
    return step


def depends_on_records(step: Step) -> bool:
    """Return whether records decide about the step, so that it must be checked again in the transaction."""
    old, new = step.old, step.new
    if new is None or step.action is Action.create_entity:
        return False
    if old is None:
        return new.unique if new.default is not None else new.required
    return (
        (new.required and not old.required)
        or (new.unique and not old.unique)
        or (new.indexed and not old.indexed)
        or bool(set(old.values or ()) - set(new.values or ()))
    )


def fills_gaps(old: Field, new: Field) -> bool:
    """Return whether a change backfills the default: the value becomes required."""
    return new.required and not old.required and new.default is not None


def _why_not_added(new: Field, facts: Facts) -> str | None:
    if new.required and new.default is None and facts.records:
        return f"There are records ({facts.records}), and they would have no value: give the field a default."
    if new.unique and new.default is not None and facts.records > 1:
        return "A unique field cannot give one default to all records."
    return None


def _why_not_changed(old: Field, new: Field, facts: Facts) -> str | None:
    gaps = facts.records - facts.filled
    if new.type is not old.type and old.type not in _LOSSLESS.get(new.type, frozenset()):
        return f"The type cannot change from '{old.type}' to '{new.type}': add a field, and move the values."
    if new.required and not old.required and gaps and new.default is None:
        return f"Records without a value: {gaps}. Fill them first, or give the field a default."
    if new.unique and not old.unique:
        if facts.repeated:
            return f"The values are not unique; values that several records have: {facts.repeated}."
        if fills_gaps(old, new) and gaps > 1:
            return "A unique field cannot give one default to several records."
    if facts.unlisted:
        return f"Records with a value that is not among the new 'values': {facts.unlisted}."
    if facts.oversized:
        return f"Records with a value too long for an index: {facts.oversized}."
    return None
