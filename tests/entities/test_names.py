"""Names: the two patterns, the reserved ones, and no two alike."""

from __future__ import annotations

import pytest

from keystead.entities.names import (
    FIXED_NAMES,
    SYSTEM_FIELDS,
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
@pytest.mark.parametrize(
    "name",
    [
        *["", "Customer", "_x", "__x", "__schema", "1a", "a-b", "a b", "a.b", "a\n", "größe", "ａ", "a" * 49],
        *["a;drop table users", "a'", "a\"", "a\0"],
        *["customerList", "customerById", "customerInput"],
        *["me", "user", "apiKey", "apikey", "session", "brand", "role", "entity", "auditEvent", "health", "success"],
        *["query", "mutation", "subscription", "string", "int", "float", "boolean", "iD", "json", "date", "dateTime"],
        *["pagination", "authTokens", "magicLogin", "pyloUser", "pyloApiKey", "login", "logout"],
    ],
)  # fmt: skip
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        require_entity_name(name, "the.path")
    assert refused.value.extensions["field"] == "the.path"


@pytest.mark.attack("A95")
@pytest.mark.parametrize("name", ["name", "a1", "line_items", "select", "order", "xmin", "brand_id", "oid", "a" * 48])
def test_a_snake_case_field_is_taken(name: str) -> None:
    require_field_name(name, name)


@pytest.mark.attack("A95")
@pytest.mark.parametrize(
    "name",
    [
        *SYSTEM_FIELDS,
        *["", "Name", "firstName", "_x", "__typename", "x_", "a__b", "1a", "a-b", "naïve", "a\n", "a" * 49],
        *["customer_connect", "customer_disconnect"],
    ],
)
def test_another_field_is_refused(name: str) -> None:
    with pytest.raises(BadUserInput):
        require_field_name(name, "the.path")


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
