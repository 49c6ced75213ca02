"""The plan answers as graphql-core's own executor does, on documents written at random."""

from __future__ import annotations

from typing import Any

import msgspec
from graphql import GraphQLResolveInfo, GraphQLSchema, execute, get_introspection_query, parse, validate

from keystead.graphql.executor.selection import Selection
from keystead.graphql.schema import FixedSchema
from tests.graphql.documents_at_random import SENT, Writer
from tests.graphql.fakes import ask, context, fixed, person, registry

DOCUMENTS = 300


class Everything(Selection):
    """For resolvers under graphql-core's executor, which tells them nothing of what is selected."""


def equipped(small: FixedSchema) -> GraphQLSchema:
    """The schema with its resolvers where graphql-core's executor looks for them."""
    schema = small.version.schema
    resolvers = registry()
    for root in (schema.query_type, schema.mutation_type):
        assert root is not None
        for name, field in root.fields.items():
            one = resolvers[f"{root.name}.{name}"]

            async def resolve(_root: Any, _info: GraphQLResolveInfo[Any], _one: Any = one, **args: Any) -> Any:
                return await _one(context(), args, Everything())

            field.resolve = resolve
    return schema


async def theirs(schema: GraphQLSchema, text: str, variables: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The data, and the paths of the errors, of graphql-core's executor."""
    result: Any = execute(schema, parse(text), variable_values=variables)
    if hasattr(result, "__await__"):
        result = await result
    errors = [list(error.path or ()) for error in result.errors or ()]
    return msgspec.json.decode(msgspec.json.encode(result.data)), errors


async def test_random_documents_get_the_answer_of_graphql_core() -> None:
    small = fixed()
    schema = equipped(small)
    compared = 0
    features = dict.fromkeys(("fragment", "@skip", "@include", "$", ": ", "__typename", "orders", "rivals"), 0)
    for seed in range(DOCUMENTS):
        text = Writer(schema, seed).document()
        if validate(schema, parse(text)):
            continue
        status, mine = await ask(small.version, text, SENT)
        if status == 400:
            assert mine["errors"][0]["extensions"].get("limit"), (text, mine)
            continue
        data, paths = await theirs(schema, text, SENT)
        assert mine["data"] == data, text
        assert list(mine["data"]) == list(data)
        assert [error["path"] for error in mine.get("errors", [])] == paths, text
        compared += 1
        for feature in features:
            features[feature] += feature in text
    assert compared >= 100, compared
    assert all(count >= 5 for count in features.values()), features


async def test_faults_null_the_same_parent_at_the_same_path() -> None:
    small = fixed()
    schema = equipped(small)
    for text in (
        "{ holed { name } }",
        "{ holed { age } }",
        "{ holed { id tags age } }",
        "{ a: holed { id friend { id } } holed { id name } must }",
    ):
        _, mine = await ask(small.version, text)
        data, paths = await theirs(schema, text, {})
        assert mine["data"] == data
        assert [error["path"] for error in mine["errors"]] == paths
        assert mine["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"


async def test_introspection_gives_the_answer_of_graphql_core() -> None:
    small = fixed()
    for text in (
        get_introspection_query(specified_by_url=True, directive_is_repeatable=True, input_value_deprecation=True),
        '{ __type(name: "Person") { kind fields { a: name b: type { ofType { name } } args { defaultValue } } } }',
        '{ __type(name: "Unknown") { name } }',
        '{ __type(name: "Colour") { enumValues(includeDeprecated: true) { name isDeprecated } } }',
        "{ __schema { queryType { name } subscriptionType { name } directives { name locations args { name } } } }",
        '{ __type(name: "__Type") { fields { name type { kind ofType { name } } } } }',
    ):
        status, mine = await ask(small.version, text)
        data, _ = await theirs(small.version.schema, text, {})
        assert status == 200, mine
        assert mine["data"] == data, text
    # Strawberry, imported by tests of the examples, changes graphql-core's own answer to this one.
    _, mine = await ask(small.version, '{ __type(name: "Colour") { isOneOf } }')
    assert mine["data"] == {"__type": {"isOneOf": None}}


def test_the_person_of_the_fakes_has_every_field_of_its_type() -> None:
    assert set(person(1)) == set(fixed().version.schema.type_map["Person"].fields)  # type: ignore[attr-defined]
