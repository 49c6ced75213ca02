"""What has to change for the registry to become what is wanted, and which of it is refused. Pure; contract §5."""

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
"""A type, and the types that may become it: their stored values are values of it as they stand."""


LOSES_DATA = "The field is missing from the definition: dropping it loses its values. Set 'allow_data_loss' to drop it."


class Action(StrEnum):
    """One kind of step."""

    create_entity = "create_entity"
    add_field = "add_field"
    change_field = "change_field"
    drop_field = "drop_field"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the records say about one step."""

    records: int = 0
    """How many there are."""
    filled: int = 0
    """How many of them have a value in the field."""
    repeated: int = 0
    """How many values stand in more than one record."""
    unlisted: int = 0
    """How many records hold a value that the new list of an enum has not."""
    oversized: int = 0
    """How many records hold a text that is too long for the index that is wanted."""


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
    """Why it cannot be done; None when it can."""


class Plan(msgspec.Struct, frozen=True):
    """All steps in their order. Nothing is applied when one of them is refused."""

    steps: tuple[Step, ...]
    schema_version: int
    applied: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether any step is."""
        return any(step.refused is not None for step in self.steps)


def compare(current: Mapping[str, Entity], wanted: Iterable[Entity]) -> tuple[Step, ...]:
    """The steps from ``current`` to ``wanted``; entities that ``wanted`` does not name stay as they are."""
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
    """The step with how many rows it touches, and the reason why it is refused, if it is."""
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
    """Whether the records decide if a step is refused: such a step is looked at again when it is carried out."""
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
    """Whether a change gives the default to records that have no value: where a value becomes required."""
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
            return f"The values are not unique; values that stand in several records: {facts.repeated}."
        if fills_gaps(old, new) and gaps > 1:
            return "A unique field cannot give one default to several records."
    if facts.unlisted:
        return f"Records with a value that is not among the new 'values': {facts.unlisted}."
    if facts.oversized:
        return f"Records with a value too long for an index: {facts.oversized}."
    return None
