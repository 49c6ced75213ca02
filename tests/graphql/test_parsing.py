"""The shortcut of the parser changes no tree and no error."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import graphql
import pytest
from graphql import GraphQLSyntaxError
from graphql.utilities import ast_to_dict

from keystead.errors import DocumentInvalid, DocumentUnreadable
from keystead.graphql.limits import MAX_TOKENS
from keystead.graphql.parsing import parse
from tests.graphql.documents_at_random import Writer
from tests.graphql.fakes import fixed

SCHEMA = fixed().version.schema
PIECES = ("", " ", "\n", "\r\n", ",", "#", "# c\n", *'{}().:@x0"$é', "...")


def outcome(parse_it: Callable[[str], graphql.DocumentNode], text: str) -> object:
    try:
        return ast_to_dict(parse_it(text), locations=True)
    except (GraphQLSyntaxError, DocumentUnreadable, DocumentInvalid) as error:
        message = str(error.message)
        return "tokens" if "okens" in message else message.partition("String")[0]


def plainly(text: str) -> graphql.DocumentNode:
    return graphql.parse(text, max_tokens=MAX_TOKENS, allow_empty_selection_sets=False)


@pytest.mark.parametrize("seed", range(40))
def test_trees_and_errors_are_those_of_graphql_core(seed: int) -> None:
    chance = Random(seed)
    text = Writer(SCHEMA, seed).document()
    assert outcome(parse, text) == outcome(plainly, text)
    for _ in range(25):
        at = chance.randrange(len(text))
        piece = chance.choice(PIECES)
        broken = text[:at] + piece + text[at + chance.choice((0, 1, 7)) :]
        assert outcome(parse, broken) == outcome(plainly, broken), broken


@pytest.mark.parametrize(
    "text",
    [
        "{a}", "{a b}", "{a,b\r\nc}", "{a b", "{a b ", "{a b..", "{a b...F}", "{a b ...on T{c}}", "{a b:c}",
        "{a b#c\n}", "{a b @c}", "{}", "{a{}}", "{ \ufeff a \ufeff b}", "{a b(c:1) d e}",
        "{on true null query}", "{a $b}", "{a 1}",
        '{a "b"}', "{é a}", "{a é}", "a b",
    ],
)  # fmt: skip
def test_where_a_run_of_plain_fields_may_end(text: str) -> None:
    assert outcome(parse, text) == outcome(plainly, text)


@pytest.mark.parametrize("number", range(MAX_TOKENS - 6, MAX_TOKENS + 6))
@pytest.mark.parametrize(
    "shape", ["{{{0}}}", "{{ a {{ {0} }} b }}", "{{ {0}", "{{ {0} a(b: 1) c d }}", "{{ {0} # c\n}}"]
)
def test_tokens_are_counted_as_they_were(shape: str, number: int) -> None:
    text = shape.format("a " * number)
    assert outcome(parse, text) == outcome(plainly, text)
