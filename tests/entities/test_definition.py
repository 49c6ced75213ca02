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


def test_what_was_not_written_is_not_kept() -> None:
    definition = {"fields": {"name": {"type": "string"}}}
    assert parse_definition({"customer": definition})["customer"].as_definition() == definition


@pytest.mark.parametrize("type_name", list(FieldType))
def test_every_type_is_taken(type_name: FieldType) -> None:
    rules = {"type": type_name.value} | ({"values": ["a"]} if type_name is FieldType.enum else {})
    assert parse_definition({"thing": {"fields": {"it": rules}}})["thing"].fields["it"].type is type_name


def field(**rules: Any) -> dict[str, Any]:
    return {"customer": {"fields": {"it": rules}}}


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
        (field(), "customer.fields.it.type"),
        (field(typ="text"), "customer.fields.it.typ"),
        (field(type="varchar"), "customer.fields.it.type"),
        (field(type=None), "customer.fields.it.type"),
        (field(type="text", required="yes"), "customer.fields.it.required"),
        (field(type="text", required=1), "customer.fields.it.required"),
        (field(type="text", unique=True), "customer.fields.it.unique"),
        (field(type="json", indexed=True), "customer.fields.it.indexed"),
        (field(type="integer", max_length=3), "customer.fields.it.max_length"),
        (field(type="string", max_length=0), "customer.fields.it.max_length"),
        (field(type="string", max_length=10_001), "customer.fields.it.max_length"),
        (field(type="string", max_length=501, unique=True), "customer.fields.it.max_length"),
        (field(type="string", max_length=True), "customer.fields.it.max_length"),
        (field(type="string", max_length=5, min_length=6), "customer.fields.it.min_length"),
        (field(type="string", pattern="("), "customer.fields.it.pattern"),
        (field(type="string", pattern="(?=a)"), "customer.fields.it.pattern"),
        (field(type="string", pattern=r"(a)\1"), "customer.fields.it.pattern"),
        (field(type="string", pattern="a" * 501), "customer.fields.it.pattern"),
        (field(type="string", pattern="((a{100}){100}){100}"), "customer.fields.it.pattern"),
        (field(type="string", pattern="\ud800"), "customer.fields.it.pattern"),
        (field(type="string", values=["a"]), "customer.fields.it.values"),
        (field(type="enum"), "customer.fields.it.values"),
        (field(type="enum", values=[]), "customer.fields.it.values"),
        (field(type="enum", values=["a", "a"]), "customer.fields.it.values"),
        (field(type="enum", values=["a", ""]), "customer.fields.it.values"),
        (field(type="enum", values=["a", 1]), "customer.fields.it.values"),
        (field(type="enum", values=["a\0"]), "customer.fields.it.values"),
        (field(type="enum", values=["a"], default="b"), "customer.fields.it.default"),
        (field(type="integer", default="'; DROP TABLE users"), "customer.fields.it.default"),
        (field(type="integer", min="a"), "customer.fields.it.min"),
        (field(type="integer", min=3, max=2), "customer.fields.it.max"),
        (field(type="integer", min=3, default=2), "customer.fields.it.default"),
        (field(type="decimal", max="1e5"), "customer.fields.it.max"),
        (field(type="date", min="yesterday"), "customer.fields.it.min"),
        (field(type="datetime", min="2024-01-01T00:00:00"), "customer.fields.it.min"),
        (field(type="string", read=[]), "customer.fields.it.read"),
        (field(type="string", read="admin"), "customer.fields.it.read"),
        (field(type="string", write=["root"]), "customer.fields.it.write"),
        (field(type="string", write=["operator"]), "customer.fields.it.write"),
        ({"order": {"fields": {"a": {"type": "text"}}, "relations": {"a": {"to": "x"}}}}, "order.relations.a"),
        ({"order": {"fields": {"a": {"type": "text"}}, "relations": {"b": {}}}}, "order.relations.b.to"),
        (
            {"order": {"fields": {"a": {"type": "text"}}, "relations": {"b": {"to": "x", "on_delete": "explode"}}}},
            "order.relations.b.on_delete",
        ),
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


@pytest.mark.parametrize("type_name", list(FieldType))
def test_every_type_is_documented(type_name: FieldType) -> None:
    page = (Path(__file__).parents[2] / "docs" / "entities.md").read_text("utf-8")
    assert f"| `{type_name}` |" in page


def test_every_rule_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "entities.md").read_text("utf-8")
    assert [rule for rule in Field.__struct_fields__ if f"`{rule}`" not in page and rule != "type"] == []
