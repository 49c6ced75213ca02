"""Names: the two patterns, the reserved ones, and no two alike."""

from __future__ import annotations

import pytest

from keystead.entities.names import (
    FIXED_NAMES,
    generated_names,
    require_distinct,
    require_entity_name,
    require_field_name,
)
from keystead.errors import BadUserInput
from keystead.graphql.schema import fixed_names


def test_the_reserved_names_are_those_of_the_fixed_schema() -> None:
    fixed = {name.lower() for name in fixed_names() if not name.startswith("__")}
    # A scalar of GraphQL that the fixed schema happens not to use, and a root type that it has not.
    assert fixed | {"float", "subscription"} == FIXED_NAMES


@pytest.mark.attack("A95")
@pytest.mark.parametrize(
    "name",
    ["customer", "customerOrder", "c", "select", "table", "group", "playlist", "order", "sqliteMaster", "a" * 48],
)
def test_a_camel_case_name_is_taken(name: str) -> None:
    require_entity_name(name, name)


@pytest.mark.attack("A95")
@pytest.mark.parametrize("name", ["name", "a1", "line_items", "select", "order", "xmin", "brand_id", "oid", "a" * 48])
def test_a_snake_case_field_is_taken(name: str) -> None:
    require_field_name(name, name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("customerOrder", "customerorder"), ("customer", "customerResponse"), ("play", "playlist"), ("x", "createX")],
)
def test_two_entities_never_share_a_generated_name(one: str, other: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        require_distinct([one, other])
    assert refused.value.extensions["field"] == other


def test_different_entities_stand_beside_each_other() -> None:
    require_distinct(["customer", "order", "customerOrder", "orderLine"])
    assert len(generated_names("customer")) == 10
