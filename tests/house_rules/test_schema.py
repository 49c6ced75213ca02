"""The fixed GraphQL schema: approved as a whole, and access stated on every field."""

from __future__ import annotations

from pathlib import Path

from graphql import FieldDefinitionNode, ObjectTypeDefinitionNode, StringValueNode, parse

from tests.house_rules.source import PACKAGE

SNAPSHOT = Path(__file__).with_name("schema.snapshot.graphql")
ACCESS = {"public", "brandToken", "user", "permission"}


def schema_text() -> str:
    return (PACKAGE / "graphql" / "schema.graphql").read_text("utf-8")


def root_fields() -> list[tuple[str, FieldDefinitionNode]]:
    return [
        (f"{definition.name.value}.{field.name.value}", field)
        for definition in parse(schema_text()).definitions
        if isinstance(definition, ObjectTypeDefinitionNode) and definition.name.value in ("Query", "Mutation")
        for field in definition.fields or ()
    ]


def test_the_schema_is_the_approved_one() -> None:
    """A change of the public contract is a change of two files, so that it is never an accident."""
    assert schema_text() == SNAPSHOT.read_text("utf-8")


def test_every_root_field_says_once_who_may_use_it() -> None:
    stated = {
        name: [directive.name.value for directive in field.directives or () if directive.name.value in ACCESS]
        for name, field in root_fields()
    }
    assert len(stated) > 40
    assert {name: access for name, access in stated.items() if len(access) != 1} == {}


def test_every_permission_asked_for_exists() -> None:
    from keystead.permissions import OPERATOR, is_permission

    needed = {
        argument.value.value
        for _, field in root_fields()
        for directive in field.directives or ()
        if directive.name.value == "permission"
        for argument in directive.arguments or ()
        if isinstance(argument.value, StringValueNode)
    }
    assert needed
    assert [name for name in needed if name != OPERATOR and not is_permission(name)] == []


def test_a_root_field_can_fail_alone() -> None:
    assert [name for name, field in root_fields() if field.type.kind == "non_null_type"] == []
