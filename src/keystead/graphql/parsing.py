"""Parse a document with graphql-core, with a fast path for fields that consist of a name alone.

A request whose document is not cached spends most of its time here, and most fields are a name alone. Runs of such
fields are matched by one regular expression; graphql-core parses the rest, so ASTs and errors are the same.
"""

from __future__ import annotations

import re
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLSyntaxError,
    Location,
    NameNode,
    SelectionNode,
    SelectionSetNode,
    Source,
    Token,
    TokenKind,
)
from graphql.language.parser import Parser

from keystead.errors import DocumentInvalid, DocumentUnreadable
from keystead.graphql.limits import MAX_TOKENS, over_limit

_TEXT_TOKEN: Final = re.compile(r"\b((?:Block)?String) .*", re.DOTALL)
# A name, followed by the next selection or the end of the set.
_PLAIN_FIELD: Final = re.compile(r"[ \t\r\n,]*+([_A-Za-z]\w*+)(?=[ \t\r\n,]*+(?:[_A-Za-z}]|\.\.\.))", re.ASCII)


def parse(text: str) -> DocumentNode:
    """Parse ``text``.

    :raises DocumentUnreadable: for a syntax error.
    :raises DocumentInvalid: for too many tokens or too deep nesting.
    """
    parser = _Parser(Source(text), max_tokens=MAX_TOKENS, allow_empty_selection_sets=False)
    try:
        return parser.parse_document()
    except RecursionError:
        raise DocumentInvalid("The document is nested too deeply.", limit="depth") from None
    except GraphQLSyntaxError as error:
        if "tokens. Parsing aborted" in error.message:
            raise over_limit("tokens", MAX_TOKENS) from None
        # A string token may be a misplaced password: the message does not repeat it.
        raise DocumentUnreadable(_TEXT_TOKEN.sub(r"\1.", error.message)) from None


class _Parser(Parser):
    def parse_selection_set(self) -> SelectionSetNode:
        self._enter_nesting()
        start = self._lexer.token
        self.expect_token(TokenKind.BRACE_L)
        selections: list[SelectionNode] = []
        while True:
            if not self._take_plain_fields(selections):
                selections.append(self.parse_selection())
            if self.expect_optional_token(TokenKind.BRACE_R):
                break
        self._nesting_depth -= 1
        return SelectionSetNode(selections=tuple(selections), loc=self.loc(start))

    def _take_plain_fields(self, selections: list[SelectionNode]) -> bool:
        """Append the fields at the current token that are a name alone, and advance past them."""
        lexer, room = self._lexer, MAX_TOKENS - self._token_counter
        source, taken = lexer.source, 0
        name, start, at = "", 0, lexer.token.start
        # With too many tokens, graphql-core reports the first token over the limit.
        while taken < room and (found := _PLAIN_FIELD.match(source.body, at)) is not None:
            name, (start, at) = found[1], found.span(1)
            selections.append(_plain_field(name, start, at, source))
            taken += 1
        if taken:
            # All but the last are counted here, its successor by graphql-core. Line numbers of tokens are not used.
            self._token_counter += taken - 1
            lexer.token = Token(TokenKind.NAME, start, at, lexer.line, 0, name)
            self.advance_lexer()
        return taken > 0


_new_field, _new_name, _new_location = FieldNode.__new__, NameNode.__new__, Location.__new__


def _plain_field(name: str, start: int, end: int, source: Source) -> FieldNode:
    """Build ``FieldNode(name=NameNode(value=name, loc=...), loc=...)`` without the cost of frozen dataclasses."""
    location = _new_location(Location)
    location.start, location.end, location.source = start, end, source
    name_node, field = _new_name(NameNode), _new_field(FieldNode)
    name_node.__dict__.update(value=name, loc=location)
    field.__dict__.update(name=name_node, loc=location)
    return field
