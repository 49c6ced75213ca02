"""What a new definition means for an old one: steps, and the reasons to refuse them. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.entities.definition_reader import parse_definition
from keystead.entities.model import Entity
from keystead.entities.schema_plan import Action, Facts, Step, compare, judge


def customer(**fields: Any) -> Entity:
    return parse_definition({"customer": {"fields": fields}})["customer"]


def steps(old: Entity | None, new: Entity) -> tuple[Step, ...]:
    return compare({} if old is None else {old.name: old}, [new])


TEXT = {"type": "text"}
STRING = {"type": "string"}


def test_a_new_entity_is_one_step_and_the_same_none() -> None:
    (step,) = steps(None, customer(name=TEXT))
    assert (step.action, step.field, step.loses_data) == (Action.create_entity, None, False)
    assert steps(customer(name=TEXT), customer(name=TEXT)) == ()
    assert compare({"customer": customer(name=TEXT)}, []) == ()


def test_steps_name_their_fields() -> None:
    found = steps(customer(a=TEXT, b=TEXT), customer(b=STRING, c=TEXT))
    expected = [("drop_field", "a"), ("change_field", "b"), ("add_field", "c")]
    assert [(step.action.value, step.field) for step in found] == expected


def one_step(old: dict[str, Any] | None, new: dict[str, Any] | None) -> Step:
    before, after = ({"keep": TEXT} | ({} if rules is None else {"it": rules}) for rules in (old, new))
    (step,) = steps(customer(**before), customer(**after))
    return step


def test_a_drop_is_refused_unless_loss_is_allowed() -> None:
    step, facts = one_step(TEXT, None), Facts(records=3, filled=2)
    refused = judge(step, facts, allow_data_loss=False)
    allowed = judge(step, facts, allow_data_loss=True)
    assert refused.refused is not None
    assert "Set 'allow_data_loss' to drop it." in refused.refused
    assert allowed.refused is None
    assert (allowed.loses_data, allowed.rows_affected) == (True, 2)


@pytest.mark.parametrize(
    ("old", "new", "good", "bad"),
    [
        (None, {**TEXT, "required": True}, Facts(records=0), Facts(records=1)),
        (None, {**STRING, "unique": True, "default": "x"}, Facts(records=1), Facts(records=2)),
        (TEXT, {**TEXT, "required": True}, Facts(records=2, filled=2), Facts(records=2, filled=1)),
        (STRING, {**STRING, "unique": True}, Facts(records=9, filled=9), Facts(records=9, filled=9, repeated=1)),
        (STRING, {**STRING, "indexed": True}, Facts(records=9, filled=9), Facts(records=9, filled=9, oversized=1)),
        (
            STRING,
            {**STRING, "unique": True, "required": True, "default": "x"},
            Facts(records=2, filled=1),
            Facts(records=3, filled=1),
        ),
        (
            {"type": "enum", "values": ["a", "b"]},
            {"type": "enum", "values": ["a"]},
            Facts(records=2, filled=2),
            Facts(records=2, filled=2, unlisted=1),
        ),
    ],
)
def test_the_records_decide(old: Any, new: Any, good: Facts, bad: Facts) -> None:
    step = one_step(old, new)
    assert judge(step, good, allow_data_loss=False).refused is None
    assert judge(step, bad, allow_data_loss=True).refused is not None


@pytest.mark.parametrize(
    ("old", "new", "is_allowed"),
    [
        ("string", "text", True), ("email", "string", True), ("url", "text", True), ("uuid", "string", True),
        ("text", "string", False), ("string", "email", False), ("integer", "string", False),
        ("integer", "float", False), ("json", "text", False),
    ],
)  # fmt: skip
def test_a_type_changes_only_where_no_value_does(old: str, new: str, is_allowed: bool) -> None:
    step = judge(one_step({"type": old}, {"type": new}), Facts(), allow_data_loss=True)
    assert (step.refused is None) is is_allowed


def test_a_default_says_how_many_records_it_fills() -> None:
    added = judge(one_step(None, {**TEXT, "default": "x"}), Facts(records=4), allow_data_loss=False)
    needed = {**TEXT, "required": True, "default": "x"}
    filled = judge(one_step(TEXT, needed), Facts(records=4, filled=1), allow_data_loss=False)
    assert (added.rows_affected, filled.rows_affected) == (4, 3)
