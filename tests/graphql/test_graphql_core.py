"""Canaries of the private parts of graphql-core that the server uses: an upgrade that changes one fails here."""

from __future__ import annotations

import inspect

import pytest
from graphql import GraphQLArgument, GraphQLInt, Source, Undefined, parse
from graphql.language.parser import Parser
from graphql.utilities.coerce_input_value import coerce_default_value
from graphql.validation.rules import overlapping_fields_can_be_merged

from keystead.errors import DocumentInvalid
from keystead.graphql.documents import DocumentCache
from tests.graphql.fakes import fixed


def test_the_parser_counts_tokens_and_nesting_in_the_attributes_that_ours_sets() -> None:
    parser = Parser(Source("{ a { b } }"), max_tokens=100, allow_empty_selection_sets=False)
    assert (parser._token_counter, parser._nesting_depth) == (0, 0)
    parser.parse_document()
    assert (parser._token_counter, parser._nesting_depth) == (6, 0)
    assert "_enter_nesting" in inspect.getsource(Parser.parse_selection_set)


def test_nodes_keep_their_fields_in_a_dict() -> None:
    field = parse("{ a }").definitions[0].selection_set.selections[0]  # type: ignore[attr-defined]
    assert {"name", "loc"} <= set(field.__dict__)


def test_an_argument_without_default_has_none() -> None:
    assert coerce_default_value(GraphQLArgument(GraphQLInt)) is Undefined


def test_the_budget_for_conflicts_is_read_from_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlapping_fields_can_be_merged, "MAX_COMPLEXITY_BUDGET", 0)
    with pytest.raises(DocumentInvalid):
        DocumentCache().get(fixed().version, "{ me { ... { id } ... { id name } } }", None)
