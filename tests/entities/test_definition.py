"""Definitions are read strictly, and a fault is named by its exact path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keystead.entities.definition_reader import parse_definition, parse_file
from keystead.entities.model import Entity, Field, FieldType
from keystead.errors import BadUserInput

FILE = """
[customer]
[customer.fields]
name   = { type = "string", required = true, max_length = 200 }
email  = { type = "email", unique = true }
status = { type = "enum", values = ["active", "paused"], default = "active" }
notes  = { type = "text", read = ["admin"], write = ["admin"] }      # who may see and set the field

[order]
[order.fields]
total  = { type = "decimal", min = 0, indexed = true }
since  = { type = "date", min = 2024-01-01, default = 2024-06-01 }
seen   = { type = "datetime", max = 2030-01-01T00:00:00Z }
[order.relations]
customer = { to = "customer", many = false, inverse = "orders", on_delete = "restrict" }
"""


def test_the_file_of_the_contract_is_read() -> None:
    entities = parse_definition(parse_file(FILE))
    assert list(entities) == ["customer", "order"]
    assert entities["customer"].fields["name"].max_length == 200
    assert entities["customer"].fields["notes"].read == ("admin",)
    assert entities["order"].fields["since"].min == "2024-01-01"
    assert entities["order"].relations["customer"].inverse == "orders"


def test_an_entity_comes_back_from_the_registry_as_it_went_in() -> None:
    for name, entity in parse_definition(parse_file(FILE)).items():
        assert Entity.from_stored(name, entity.as_definition()) == entity
    definition = {"fields": {"name": {"type": "string"}}}
    assert parse_definition({"customer": definition})["customer"].as_definition() == definition


@pytest.mark.parametrize("type_name", list(FieldType))
def test_every_type_is_taken(type_name: FieldType) -> None:
    rules = {"type": type_name.value} | ({"values": ["a"]} if type_name is FieldType.enum else {})
    assert parse_definition({"thing": {"fields": {"it": rules}}})["thing"].fields["it"].type is type_name


FIELD_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "type"), ({"typ": "text"}, "typ"), ({"type": "varchar"}, "type"), ({"type": None}, "type"),
    ({"type": "text", "required": "yes"}, "required"), ({"type": "text", "required": 1}, "required"),
    ({"type": "text", "unique": True}, "unique"), ({"type": "json", "indexed": True}, "indexed"),
    ({"type": "integer", "max_length": 3}, "max_length"), ({"type": "string", "max_length": 0}, "max_length"),
    ({"type": "string", "max_length": 10_001}, "max_length"),
    ({"type": "string", "max_length": 501, "unique": True}, "max_length"),
    ({"type": "string", "max_length": True}, "max_length"),
    ({"type": "string", "max_length": 5, "min_length": 6}, "min_length"),
    ({"type": "string", "pattern": "("}, "pattern"), ({"type": "string", "pattern": "(?=a)"}, "pattern"),
    ({"type": "string", "pattern": r"(a)\1"}, "pattern"), ({"type": "string", "pattern": "a" * 501}, "pattern"),
    ({"type": "string", "pattern": "((a{100}){100}){100}"}, "pattern"),
    ({"type": "string", "pattern": "\ud800"}, "pattern"), ({"type": "string", "values": ["a"]}, "values"),
    ({"type": "enum"}, "values"), ({"type": "enum", "values": []}, "values"),
    ({"type": "enum", "values": ["a", "a"]}, "values"), ({"type": "enum", "values": ["a", ""]}, "values"),
    ({"type": "enum", "values": ["a", 1]}, "values"), ({"type": "enum", "values": ["a\0"]}, "values"),
    ({"type": "enum", "values": ["a"], "default": "b"}, "default"),
    ({"type": "integer", "default": "'; DROP TABLE users"}, "default"), ({"type": "integer", "min": "a"}, "min"),
    ({"type": "integer", "min": 3, "max": 2}, "max"), ({"type": "integer", "min": 3, "default": 2}, "default"),
    ({"type": "decimal", "max": "1e5"}, "max"), ({"type": "date", "min": "yesterday"}, "min"),
    ({"type": "datetime", "min": "2024-01-01T00:00:00"}, "min"), ({"type": "string", "read": []}, "read"),
    ({"type": "string", "read": "admin"}, "read"), ({"type": "string", "write": ["root"]}, "write"),
    ({"type": "string", "write": ["operator"]}, "write"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("definition", "path"),
    [
        (None, "definition"),
        ([], "definition"),
        ({}, "definition"),
        ({1: {}}, "definition"),
        ({"customer": "text"}, "customer"),
        ({"Customer": {}}, "Customer"),
        ({"customer": {}}, "customer.fields"),
        ({"customer": {"fields": {}}}, "customer.fields"),
        ({"customer": {"fields": {f"f{n}": {"type": "text"} for n in range(101)}}}, "customer.fields"),
        ({"customer": {"fields": {"it": {"type": "text"}}, "field": {}}}, "customer.field"),
        ({"customer": {"fields": {"It": {"type": "text"}}}}, "customer.fields.It"),
        ({"customer": {"fields": {"id": {"type": "text"}}}}, "customer.fields.id"),
        ({"customer": {"fields": {"it": "text"}}}, "customer.fields.it"),
        ({"order": {"fields": {"a": {"type": "text"}}, "relations": {"a": {"to": "x"}}}}, "order.relations.a"),
        ({"order": {"fields": {"a": {"type": "text"}}, "relations": {"b": {}}}}, "order.relations.b.to"),
        (
            {"order": {"fields": {"a": {"type": "text"}}, "relations": {"b": {"to": "x", "on_delete": "explode"}}}},
            "order.relations.b.on_delete",
        ),
        *(({"customer": {"fields": {"it": rules}}}, f"customer.fields.it.{rule}") for rules, rule in FIELD_FAULTS),
    ],
)
@pytest.mark.attack("A95")
def test_a_fault_is_named_by_its_path(definition: Any, path: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        parse_definition(definition)
    assert refused.value.extensions["field"] == path


@pytest.mark.parametrize("text", ["[customer", "a = ", "\ud800"[:0] + "x = 1\nx = 2"])
def test_a_file_that_is_no_toml_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(BadUserInput, match="not valid TOML"):
        parse_file(text)


def test_every_type_and_rule_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "entities.md").read_text("utf-8")
    assert [name for name in FieldType if f"| `{name}` |" not in page] == []
    assert [rule for rule in Field.__struct_fields__ if f"`{rule}`" not in page and rule != "type"] == []
