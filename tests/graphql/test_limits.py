"""Each limit passes at its value and refuses one above it, in little time whatever the document."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import parse

from keystead.graphql.limits import measure
from tests.graphql.fakes import ask, codes, fixed

VERSION = fixed().version
LEAVES = "id name nickname age height is_tall colour born seen notes".split()


def nested(depth: int) -> str:
    """A query of this depth."""
    return "{ me " + "{ friend " * (depth - 2) + "{ id }" + " }" * (depth - 1)


def spread(count: int) -> str:
    """A query with this many fragments, each used once."""
    uses = " ".join(f"...F{i}" for i in range(count))
    leaves = [*LEAVES, "tags", "grid"]
    return f"{{ me {{ {uses} }} }}" + "".join(f" fragment F{i} on Person {{ {leaves[i % 12]} }}" for i in range(count))


def tree(count: int) -> str:
    """A selection on ``Person`` of exactly this many fields, lists aside, so that it costs little."""
    if count <= len(LEAVES):
        return " ".join(LEAVES[:count])
    below = count - len(LEAVES) - 2
    half = below // 2
    if half < 1:
        return " ".join([*LEAVES, "tags", "grid", "__typename"][:count])
    return f"{' '.join(LEAVES)} friend {{ {tree(half)} }} boss {{ {tree(below - half)} }}"


def aliased(name: str, count: int) -> str:
    """A field under this many aliases."""
    return " ".join(f"a{i}: {name}" for i in range(count))


def variables(count: int) -> str:
    """A query with this many variables, all in use."""
    heads = ", ".join(f"$v{i}: String!" for i in range(count))
    tags = ", ".join(f"$v{i}" for i in range(count))
    return f"query({heads}) {{ people(tags: [{tags}]) {{ pagination {{ total }} }} }}"


AT_AND_ABOVE: list[tuple[str, str, str]] = [
    ("depth", nested(10), nested(11)),
    ("aliases", f"{{ me {{ {aliased('id', 30)} }} }}", f"{{ me {{ {aliased('id', 31)} }} }}"),
    (
        "aliases",
        f"{{ me {{ ...A friend {{ ...A }} }} }} fragment A on Person {{ {aliased('id', 15)} }}",
        f"{{ me {{ ...A friend {{ ...A }} }} }} fragment A on Person {{ {aliased('id', 16)} }}",
    ),
    ("root_fields", f"{{ {aliased('words', 10)} }}", f"{{ {aliased('words', 11)} }}"),
    (
        "root_fields",
        f"{{ ...A b: words }} fragment A on Query {{ {aliased('words', 9)} }}",
        f"{{ ...A b: words ... {{ k: words }} }} fragment A on Query {{ {aliased('words', 9)} }}",
    ),
    ("fragments", spread(20), spread(21)),
    ("variables", variables(50), variables(51)),
    ("repeats", "{ me { id id id id id } }", "{ me { id id id id id id } }"),
    (
        "repeats",
        "{ me { id } me { id } me { id } me { id } me { id } }",
        "{ me { id } ...M ...M me { id } me { id } me { name } } fragment M on Query { me { id } }",
    ),
    ("introspection", '{ __type(name: "A") { name } }', '{ __type(name: "A") { name } b: __type(name: "B") { name } }'),
    (
        "introspection",
        "{ __schema { queryType { name } } }",
        "{ ...S ...S } fragment S on Query { __schema { queryType { name } } }",
    ),
    ("tokens", "{ me { " + "id " * 5 + " } }", "{ me { " + "id " * 1000 + " } }"),
    (
        "cost",
        "{ people(pagination: {per_page: 100}) { data { id name nickname age height } } }",
        "{ people(pagination: {per_page: 100}) { data { orders(pagination: {per_page: 99}) { data { id total } } } } }",
    ),
    (
        "credential_operations",
        '{ login(email: "e", password: "p") }',
        '{ login(email: "e", password: "p") b: login(email: "e", password: "q") }',
    ),
]


@pytest.mark.attack("A82")
@pytest.mark.parametrize(("limit", "at", "above"), AT_AND_ABOVE)
async def test_a_limit_passes_at_its_value_and_refuses_above_it(limit: str, at: str, above: str) -> None:
    sent = {f"v{i}": "x" for i in range(51)}
    status, body = await ask(VERSION, at, sent)
    assert (status, codes(body)) == (200, []), body
    status, body = await ask(VERSION, above, sent)
    assert status == 400
    assert body["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert body["errors"][0]["extensions"]["limit"] == limit
    assert "data" not in body


@pytest.mark.parametrize(
    ("at", "above"),
    [
        (f"{{ me {{ {tree(499)} }} }}", f"{{ me {{ {tree(500)} }} }}"),
        (
            f"{{ me {{ ...T }} holed {{ ...T }} }} fragment T on Person {{ {tree(249)} }}",
            f"{{ me {{ ...T }} holed {{ ...T id }} }} fragment T on Person {{ {tree(249)} }}",
        ),
    ],
)
async def test_expanded_fields_pass_at_500_and_are_refused_at_501(at: str, above: str) -> None:
    assert measure(parse(at)).fields == 500
    status, _ = await ask(VERSION, at)
    assert status == 200
    status, body = await ask(VERSION, above)
    assert (status, body["errors"][0]["extensions"]["limit"]) == (400, "fields")


async def test_directives_per_field() -> None:
    five = " ".join(["@include(if: true)"] * 5)
    for place in (
        f"{{ me {five} {{ id }} }}",
        f"{{ me {{ ... {five} {{ id }} }} }}",
        f"query {five} {{ me {{ id }} }}",
    ):
        status, body = await ask(VERSION, place)
        assert (status, body["errors"][0]["extensions"]["limit"]) == (400, "directives")
    status, body = await ask(VERSION, "{ me @include(if: true) @skip(if: false) { id } }")
    assert (status, codes(body)) == (200, [])


async def test_page_sizes_from_variables_count_before_any_resolver_runs() -> None:
    text = (
        "query($n: Int) { people(pagination: {per_page: $n})"
        " { data { orders(pagination: {per_page: $n}) { data { id total } } } } }"
    )
    status, body = await ask(VERSION, text, {"n": 10})
    assert (status, codes(body)) == (200, [])
    status, body = await ask(VERSION, text, {"n": 80})
    assert (status, body["errors"][0]["extensions"]["limit"]) == (400, "cost")
    # Outside 1..100 it is the resolver's to refuse, by name.
    status, body = await ask(VERSION, "{ people(pagination: {per_page: 101}) { data { id } } }")
    assert (status, codes(body)) == (200, [])


@pytest.mark.parametrize(
    "text",
    [
        '{ login(email: "e", password: "p") words }',
        '{ login(email: "e", password: "p") __typename }',
        '{ login(email: "e", password: "p") login(email: "e", password: "p") }',
        '{ ...A ...A } fragment A on Query { login(email: "e", password: "p") }',
        '{ login(email: "e", password: "p") ... @include(if: false) { b: login(email: "e", password: "q") } }',
        'query($y: Boolean!) { login(email: "e", password: "p") b: login(email: "e", password: "q") @skip(if: $y) }',
        'mutation { login(email: "e", password: "p") add(n: 1) }',
        'mutation { add(n: 1) a: getAccessToken(refreshToken: "ks_rt_x") }',
    ],
)
async def test_a_credential_operation_stands_alone(text: str) -> None:
    status, body = await ask(VERSION, text)
    assert (status, body["errors"][0]["extensions"]["limit"]) == (400, "credential_operations")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{ login(email: "a\\u0000b", password: "p") }', "email"),
        ('{ echo(where: {field: "x", value: "\\u0000"}) { text } }', "where"),
        ('query($x: String! = "\\u0000") { login(email: $x, password: "p") }', "x"),
        ("{ echo(float: 1e999) { text } }", "float"),
        ("{ echo(float: " + "9" * 400 + ") { text } }", "float"),
        ("{ echo(json: [{a: [1e999]}]) { text } }", "json"),
    ],
)
async def test_a_literal_that_no_server_should_take_is_refused_by_name(text: str, field: str) -> None:
    status, body = await ask(VERSION, text)
    assert (status, codes(body)) == (400, ["BAD_USER_INPUT"])
    assert body["errors"][0]["extensions"]["field"] == field


async def test_half_a_surrogate_pair_is_refused() -> None:
    for text in ('(any: "\\ud800") { text } }', '(any: "\ud800") { text } }', '(any: "x") { text } } #\ud800'):
        status, _ = await ask(VERSION, f"{{ echo{text}")
        assert status == 400


async def test_variables_nested_without_end_are_refused() -> None:
    value: dict[str, Any] = {"field": "x"}
    for _ in range(3000):
        value = {"field": "x", "and": [value]}
    status, body = await ask(VERSION, "query($w: ConditionInput) { echo(where: $w) { text } }", {"w": value})
    assert (status, codes(body)) == (400, ["BAD_USER_INPUT"])
    assert body["errors"][0]["extensions"]["field"] == "w"


@pytest.mark.parametrize(
    "text",
    [
        "{" + "a {" * 480 + "a" + "}" * 481,
        "{ a(b: " + "[" * 480 + "]" * 480 + ") }",
        "query($a: " + "[" * 480 + "Int" + "]" * 480 + ") { a }",
    ],
)
async def test_what_is_nested_too_deeply_to_be_read_is_over_the_limit_of_depth(text: str) -> None:
    status, body = await ask(VERSION, text)
    assert (status, codes(body)) == (400, ["GRAPHQL_VALIDATION_FAILED"])
    assert body["errors"][0]["extensions"]["limit"] == "depth"
