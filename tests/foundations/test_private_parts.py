"""Canaries for private parts of libraries: each fails when a release changes what our code relies on.

pyproject.toml bounds these libraries. Before a bound is raised, the code named here is read against the new release.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from argon2.low_level import error_to_str
from asyncpg.connection import Connection
from asyncpg.exceptions._base import PostgresMessageMeta
from graphql import Lexer, Source, TokenKind
from graphql.language.parser import Parser
from sqlalchemy import Column, MetaData, String, Table, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from keystead.db.statements import sqlalchemy_dialect
from tests.house_rules.source import ROOT

_TABLE = Table("t", MetaData(), Column("brand_id", String), Column("name", String))
_OTHER = Table("o", MetaData(), Column("brand_id", String))
_MINE = _TABLE.c.brand_id == bindparam("brand_id")


@pytest.mark.parametrize("library", ["sqlalchemy", "asyncpg", "argon2-cffi", "graphql-core"])
def test_the_library_has_an_upper_bound(library: str) -> None:
    assert re.search(rf'"{library}[^"]*,<', (ROOT / "pyproject.toml").read_text("utf-8"))


def test_sqlalchemys_select() -> None:
    statement: Any = select(_TABLE.c.name).where(_MINE)
    state = statement._compile_state_factory(statement, None)
    assert list(state._get_display_froms(frozenset(), frozenset())) == [_TABLE]
    assert [condition.compare(_MINE) for condition in statement._where_criteria] == [True]
    assert _TABLE.c.name._from_objects == [_TABLE]
    cte: Any = select(_OTHER.c.brand_id).cte("c")
    assert statement.add_cte(cte)._independent_ctes == (cte,)


def test_sqlalchemys_changes() -> None:
    changed: Any = update(_TABLE).where(_MINE).values(name="x")
    assert list(changed._values) == ["name"]
    removed: Any = delete(_TABLE).where(_MINE).returning(_TABLE.c.name)
    assert (len(removed._where_criteria), [c.key for c in removed._returning]) == (1, ["name"])
    several: Any = insert(_TABLE).values([{"name": "a"}, {"name": "b"}])
    assert [len(rows) for rows in several._multi_values] == [2]
    copied: Any = insert(_TABLE).from_select(["name"], select(_OTHER.c.brand_id))
    assert copied._select_names == ["name"]
    upserted: Any = (
        insert(_TABLE).values(name="x").on_conflict_do_update(index_elements=["name"], set_={"name": "y"}, where=_MINE)
    )
    clause = upserted._post_values_clause
    assert list(dict(clause.update_values_to_set)) == ["name"]
    assert (clause.inferred_target_elements, clause.update_whereclause.compare(_MINE)) == (["name"], True)


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_sqlalchemys_compiler(name: Any) -> None:
    """db/statements.py: text, order of the parameters, and the converters of values and results."""
    dialect = sqlalchemy_dialect(name)
    compiler: Any = select(_TABLE.c.name).where(_MINE).compile(dialect=dialect)
    assert list(compiler.positiontup) == ["brand_id"]
    assert isinstance(compiler._bind_processors, dict)
    assert [column.type for column in compiler._result_columns] == [_TABLE.c.name.type]
    assert _TABLE.c.name.type._cached_result_processor(dialect, None) is None


def test_asyncpgs_transport_and_states() -> None:
    """db/postgres_connect.py reads ``_transport``; the table of SQLSTATEs is held against ``_message_map``."""
    assert "_transport" in Connection.__slots__
    assert PostgresMessageMeta._message_map["23505"].__name__ == "UniqueViolationError"


def test_argon2s_texts_of_missing_resources() -> None:
    """crypto/argon2id.py tells them from hashes that cannot be decoded."""
    assert error_to_str(-22) == "Memory allocation error"
    assert error_to_str(-33) == "Threading failure"


def test_graphqls_parser() -> None:
    parser: Any = Parser(Source("{ a }"), max_tokens=10)
    assert (type(parser._lexer), parser._lexer.token.kind) == (Lexer, TokenKind.SOF)
    assert (parser._token_counter, parser._nesting_depth) == (0, 0)
    assert callable(parser._enter_nesting)
    parser.parse_document()
    assert parser._token_counter == 3
