"""Documents: which operation, what is kept, and what no message repeats."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from keystead.errors import DocumentInvalid
from keystead.graphql import documents
from keystead.graphql.documents import DocumentCache, OutsideSchema
from keystead.graphql.errors import DocumentRefused
from keystead.graphql.resolvers import load_resolvers
from keystead.graphql.schema import load_fixed
from tests.graphql.fakes import ask, codes, fixed

VERSION = fixed().version
OTHER = fixed().version


@pytest.mark.parametrize(
    ("text", "name", "status"),
    [
        ("query A { words } query B { must }", "B", 200), ("query A { words } query B { must }", None, 400),
        ("query A { words } query B { must }", "", 400), ("query A { words } query B { must }", "C", 400),
        ("query A { words }", "C", 400), ("query A { words }", None, 200), ("query A { words }", "", 200),
        ("{ words }", "A", 400), ("{ words } query B { must }", "B", 400),
        ("fragment F on Query { words }", None, 400),
    ],
)  # fmt: skip
async def test_a_document_names_the_operation_to_carry_out(text: str, name: str | None, status: int) -> None:
    got, body = await ask(VERSION, text, name=name)
    assert got == status
    assert set(codes(body)) == (set() if status == 200 else {"GRAPHQL_VALIDATION_FAILED"})
    if status == 400:
        assert "data" not in body


async def test_invalid_documents_get_at_most_five_errors_with_their_places() -> None:
    status, body = await ask(VERSION, "{ me { id }")
    assert (status, codes(body), "data" in body) == (400, ["GRAPHQL_PARSE_FAILED"], False)
    text = "{\n" + "\n".join(f"  nowhere{i}" for i in range(9)) + "\n}"
    status, body = await ask(VERSION, text)
    assert status == 400
    assert len(body["errors"]) == 6  # five, and one that says there are more
    assert [error["locations"] for error in body["errors"][:2]] == [[{"line": n, "column": 3}] for n in (2, 3)]
    assert all(error["extensions"]["referenceId"] == "ref-1" for error in body["errors"])


NOWHERE = "Cannot query field 'nowhere' on type 'Query'."


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("{ nowhere me { nam } }", [NOWHERE, "Cannot query field 'nam' on type 'Person'."]),
        ("{ ...F } fragment F on Query { nowhere }", [NOWHERE]),
        ("{ ... on Query { ... { nowhere } } }", [NOWHERE]),
        ("mutation { nowhere }", ["Cannot query field 'nowhere' on type 'Mutation'."]),
        ("{ person(ID: 1, id: 1) { id } }", ["Unknown argument 'ID' on field 'Query.person'."]),
        ("{ person(id: 1, id: 1) { id } }", ["There can be only one argument named 'id'."]),
        (
            "{ echo(where: {and: [{field: 1, feld: 1}, {or: 1}]}) }",
            [
                f"Expected value of type 'ConditionInput' not to include unknown field '{name}'."
                for name in ("feld", "or")
            ],
        ),
    ],
)
async def test_names_that_the_schema_does_not_have_are_found_first(text: str, messages: list[str]) -> None:
    status, body = await ask(VERSION, text)
    assert (status, set(codes(body))) == (400, {"GRAPHQL_VALIDATION_FAILED"})
    assert sorted(error["message"] for error in body["errors"]) == sorted(messages)
    assert all(error["locations"] for error in body["errors"])


def test_an_invalid_document_is_validated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that goes out with a wrong document sends it with every request."""
    cache = DocumentCache(max_text=200)
    texts = ["{ nowhere }", "query($n: Int) { words }", "{ me }"]
    first = [str_of(cache, text) for text in texts]
    with monkeypatch.context() as patch:
        patch.setattr(documents, "read_operation", None)
        assert [str_of(cache, text) for text in texts] == first
    assert str_of(cache, "{ nowhere }", OTHER) == first[0]
    cache.forget(VERSION)
    monkeypatch.setattr(documents, "read_operation", None)
    assert str_of(cache, "{ nowhere }", OTHER) == first[0]
    with pytest.raises(TypeError):
        cache.get(VERSION, "{ nowhere }", None)


def str_of(cache: DocumentCache, text: str, version: Any = VERSION) -> str:
    with pytest.raises(DocumentRefused) as refused:
        cache.get(version, text, None)
    assert refused.value.text == text
    return str(refused.value.problems)


def test_invalid_documents_take_little_memory() -> None:
    cache = DocumentCache(max_text=200)
    for text in (*(f"{{ nowhere{number} }}" for number in range(300)), f"{{ {'n' * 300} }}"):
        with pytest.raises(DocumentInvalid):
            cache.get(VERSION, text, None)
    assert len(cache._rejected) == documents.MAX_REFUSED
    assert max(len(str(problems)) for problems in cache._rejected.values()) < 400


@pytest.mark.attack("A84")
@pytest.mark.parametrize(
    "text", ["{ word }", "{ me { nam } }", "{ me { ... on Persn { id } } }", '{ person(ID: "x") { id } }']
)
async def test_a_misspelt_name_gets_no_suggestion(text: str) -> None:
    status, body = await ask(VERSION, text)
    assert status == 400
    assert "did you mean" not in str(body).lower()


def kept(cache: DocumentCache, text: str, name: str | None = None, version: Any = VERSION) -> bool:
    """Whether asking again gives the very operation."""
    return cache.get(version, text, name) is cache.get(version, text, name)


def test_a_document_is_kept_by_version_text_and_operation() -> None:
    cache = DocumentCache()
    text = "query A { words } query B { must }"
    assert kept(cache, text, "A")
    assert cache.get(VERSION, text, "B") is not cache.get(VERSION, text, "A")
    assert cache.get(OTHER, text, "A") is not cache.get(VERSION, text, "A")
    assert len(cache) == 3


def test_the_cache_is_bounded_by_number_length_and_weight() -> None:
    cache = DocumentCache(size=2)
    first = cache.get(VERSION, "{ a: words }", None)
    cache.get(VERSION, "{ b: words }", None)
    assert cache.get(VERSION, "{ a: words }", None) is first
    cache.get(VERSION, "{ c: words }", None)
    assert len(cache) == 2
    assert cache.get(VERSION, "{ a: words }", None) is first
    assert not kept(DocumentCache(max_text=20), "{ words words words words }")
    heavy = DocumentCache(max_weight=5)
    heavy.get(VERSION, "{ words must a: words }", None)
    heavy.get(VERSION, "{ words must b: words }", None)
    assert len(heavy) == 1


def test_a_part_of_a_schema_takes_a_document_whose_operations_are_all_in_it() -> None:
    cache = DocumentCache()
    text = "query A { words } query B { must __typename } mutation C { add(n: 1) }"
    assert cache.get(VERSION, text, "B", is_part=True).name == "B"
    for outside in ("query B { elsewhere }", "mutation B { elsewhere }"):
        with pytest.raises(OutsideSchema):
            cache.get(VERSION, f"query A {{ words }} {outside}", "A", is_part=True)


def test_what_only_a_part_lacks_is_not_refused_by_what_was_remembered() -> None:
    """The first brand of a server makes the fixed schema a part: documents that named its entities were invalid."""
    cache = DocumentCache()
    for _ in range(2):
        with pytest.raises(DocumentRefused):
            cache.get(VERSION, "{ elsewhere }", None)
        with pytest.raises(OutsideSchema):
            cache.get(VERSION, "{ elsewhere }", None, is_part=True)


def test_an_operation_weighs_as_much_as_all_the_plans_it_may_keep() -> None:
    """Otherwise sixteen answers to its directives would take sixteen times the memory that the cache reckons with."""
    cache = DocumentCache(max_weight=100)
    names = [f"c{number}" for number in range(6)]
    fields = " ".join(f"a{number}: words @skip(if: ${name})" for number, name in enumerate(names))
    declared = ", ".join(f"${name}: Boolean!" for name in names)
    assert not kept(cache, f"query A({declared}) {{ {fields} }}")
    assert kept(cache, "query B($c: Boolean!) { a: words @skip(if: $c) b: words }")


def test_the_operations_of_a_version_that_is_out_of_use_are_forgotten() -> None:
    cache = DocumentCache(max_weight=8)
    cache.get(VERSION, "{ a: words }", None)
    cache.get(VERSION, "query($e: String!) { login(email: $e, password: $e) }", None)
    other = cache.get(OTHER, "{ a: words }", None)
    cache.forget(VERSION)
    assert len(cache) == 1
    assert cache.get(OTHER, "{ a: words }", None) is other
    assert kept(cache, "{ words must a: words b: words }")  # their weight is free again


SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    "text",
    [
        f'{{ login(email: "e", password: "{SECRET}") }}',
        f'mutation {{ a: login(email: "e", password: "{SECRET}") }}',
        f'query($p: String! = "{SECRET}") {{ login(email: "e", password: $p) }}',
        f'query A {{ words }} query B {{ login(email: "e", password: "{SECRET}") }}',
        f'query($p: String!) {{ login(email: "e", password: $p) }} # {SECRET}',
    ],
)
async def test_a_document_with_a_secret_in_it_is_never_kept(text: str) -> None:
    cache = DocumentCache()
    name = "A" if "query A" in text else None
    cache.get(VERSION, text, name)
    assert len(cache) == 0
    del text
    gc.collect()
    assert not kept(cache, f'{{ login(email: "e", password: "{SECRET}") }}')


def test_a_credential_document_whose_secrets_are_variables_is_kept_under_its_digest() -> None:
    cache = DocumentCache()
    text = f"query($e: String!, $p: String!) {{ login(email: $e, password: $p) }} # {SECRET}"
    assert kept(cache, text)
    assert SECRET not in repr(list(cache._operations.items()))


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ('query($p: String!) { login(email: "e", password: $p) }', {"p": [SECRET]}),
        ('query($p: String!) { login(email: "e", password: $p) }', {"p": {"value": SECRET}}),
        (f'{{ login(email: "e", password: ["{SECRET}"]) }}', None),
        (f'{{ login(email: "e", password: {{a: "{SECRET}"}}) }}', None),
        (f'mutation {{ getAccessToken(refreshToken: "t", expiresIn: "{SECRET}") }}', None),
        (f'{{ login(email: "e" "{SECRET}" }}', None),
        (f'{{ login(email: "e" """{SECRET}""" }}', None),
        (f'{{ "{SECRET}" }}', None),
    ],
)
async def test_no_message_repeats_a_secret(text: str, variables: dict[str, Any] | None) -> None:
    status, body = await ask(VERSION, text, variables)
    assert status == 400
    assert SECRET not in str(body)


@pytest.mark.parametrize(
    ("declaration", "value"),
    [
        ("String!", 7), ("String!", None), ("Int", "600"), ("Int", 2**31), ("Int", 1.5), ("Int", True),
        ("Float", "1"), ("Boolean", "true"), ("ID!", True), ("Date", "2024-02-30"),
        ("DateTime", "2024-01-01T00:00:00"), ("DateTime", "2024-01-01"), ("DateTime", 0), ("FilterValue", [1]),
        ("FilterValue", {"a": 1}), ("FilterValue", 2**63), ("JSON", {"a": float("inf")}), ("Colour", "blue"),
        ("[String!]", ["a", None]), ("ConditionInput", {"value": 1}),
        ("ConditionInput", {"field": "x", "stranger": 1}), ("ConditionInput", {"field": 1}), ("ConditionInput", "x"),
    ],
)  # fmt: skip
async def test_a_variable_that_does_not_fit_is_named(declaration: str, value: Any) -> None:
    argument = {
        "String!": "names: [$x]", "Int": "int: $x", "Float": "float: $x", "Boolean": "yes: $x", "Date": "day: $x",
        "DateTime": "at: $x", "FilterValue": "any: $x", "JSON": "json: $x", "Colour": "colour: $x",
        "[String!]": "names: $x", "ConditionInput": "where: $x",
    }.get(declaration)  # fmt: skip
    field = f"echo({argument}) {{ text }}" if argument else "person(id: $x) { id }"
    status, body = await ask(VERSION, f"query($x: {declaration}) {{ {field} }}", {"x": value})
    assert (status, codes(body)) == (400, ["BAD_USER_INPUT"]), body
    assert body["errors"][0]["extensions"]["field"] == "x"
    assert "data" not in body
    assert "did you mean" not in str(body).lower()


async def test_a_variable_that_is_missing_is_named_and_an_unknown_one_ignored() -> None:
    status, body = await ask(VERSION, "query($id: ID!) { person(id: $id) { id } }")
    assert (status, codes(body)) == (400, ["BAD_USER_INPUT"])
    assert body["errors"][0]["extensions"]["field"] == "id"
    status, body = await ask(VERSION, "{ words }", {"stranger": 1})
    assert (status, codes(body)) == (200, [])


async def test_a_null_where_a_default_would_have_stood_fails_its_field_alone() -> None:
    text = 'query($x: String = "a") { echo(where: {field: $x}) { text } words }'
    status, body = await ask(VERSION, text, {"x": None})
    assert (status, codes(body), body["data"]) == (200, ["BAD_USER_INPUT"], {"echo": None, "words": ["x", "y"]})
    status, body = await ask(VERSION, text)
    assert (status, codes(body)) == (200, [])
    status, body = await ask(VERSION, "query($y: Boolean = true) { words @skip(if: $y) must }", {"y": None})
    assert (status, codes(body)) == (400, ["BAD_USER_INPUT"])


async def test_one_operation_keeps_a_plan_per_answer_to_its_directives() -> None:
    cache = DocumentCache()
    text = "query($y: Boolean!) { a: words @skip(if: $y) b: words @include(if: $y) }"
    operation = cache.get(VERSION, text, None)
    plans = [operation.plan({"y": answer}, text) for answer in (True, False, True)]
    assert plans[0] is plans[2]
    assert [[field.key for field in plan.fields] for plan in plans[:2]] == [["b"], ["a"]]


def test_a_document_that_makes_a_user_is_kept_only_when_the_password_is_a_variable() -> None:
    cache, version = DocumentCache(), load_fixed(load_resolvers()).version
    given = f'{{ email: "e@example.com", password: "{SECRET}" }}'
    cache.get(version, f"mutation {{ createUser(input: {given}) {{ data {{ id }} }} }}", None)
    assert len(cache) == 0
    made = "createUser(input: $one) { data { id } }"
    text = f"mutation($one: CreateUserInput!) {{ a: {made} b: {made} }}"
    assert kept(cache, text, None, version)
    assert text not in str(cache._operations.keys())
