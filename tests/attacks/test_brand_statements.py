"""A94: no SQL statement on tables of brands compiles unless it is bound to one brand."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, select, update

import keystead
from keystead.db.statements import Statement, UnboundBrand
from keystead.db.types import metadata
from tests.house_rules.source import modules

MADE_AT_RUN_TIME = {"keystead.entities.records", "keystead.entities.ddl"}
"""Modules that make statements at run time, on the tables of one brand's records."""

OF_EVERY_BRAND = {
    "keystead.db.clock._READ": "the time of the database",
    "keystead.db.migrate._CURRENT": "one row for the whole database",
    "keystead.mail.request_store._NEXT_BRAND": "one worker decides on the requests of every brand",
    "keystead.mail.request_store._OLDEST": "one worker decides on the requests of every brand",
    "keystead.mail.lease_store._FIND_DUE": "one worker delivers the mails of every brand",
    "keystead.mail.lease_store._LEASE_NEW": "the same",
    "keystead.mail.lease_store._LEASE_EXPIRED": "the same",
    "keystead.mail.lease_store._LEASE_WAITING": "the same",
    "keystead.mail.lease_store._RELEASE": "the same: it gives back what it took",
    "keystead.mail.store._LIST_ALL": "the command line shows the operator one outbox",
    "keystead.mail.store._COUNT_ALL": "the same",
    "keystead.mail.store._COUNT_STATES": "the same",
    "keystead.mail.store._COUNT_LATE": "the same",
    "keystead.mail.store._FIND": "the same: the id of the mail names its brand",
}
"""Other unbound statements, with the reason. No client of a brand reaches them."""

OF_THE_INSTALLATION = {"brands", "keystead_schema", "signing_keys", "installation", "keyring"}
"""Tables without a brand: the brands themselves, and tables of the installation."""


def every_module() -> list[str]:
    """All modules but those that run on import."""
    names = [module.name for module in pkgutil.walk_packages(keystead.__path__, "keystead.")]
    return [name for name in names if ".migrations" not in name and not name.endswith("__main__")]


def every_statement() -> dict[str, Statement]:
    """All statements, by module and name."""
    return {
        f"{name}.{attribute}{key}": statement
        for name in every_module()
        for attribute, value in vars(import_module(name)).items()
        for key, statement in _statements(value)
    }


def _statements(value: object) -> Iterator[tuple[str, Statement]]:
    if isinstance(value, Statement):
        yield "", value
    elif isinstance(value, Mapping):
        yield from ((f"[{key}]", one) for key, one in value.items() if isinstance(one, Statement))
    elif isinstance(value, list | tuple):
        yield from ((f"[{place}]", one) for place, one in enumerate(value) if isinstance(one, Statement))


@pytest.mark.attack("A94")
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_every_statement_is_bound_to_a_brand_or_gives_a_reason(dialect: Any) -> None:
    found = every_statement()
    assert len(found) > 80
    for name, statement in found.items():
        assert statement.compiled(dialect).text, name
        assert statement.unbranded is None or len(statement.unbranded) > 10, name


@pytest.mark.attack("A94")
def test_unbound_statements_are_listed() -> None:
    """Lookups by digest, whose row names the brand; the sweeper; and a few that are named above."""
    unbound = {name: statement for name, statement in every_statement().items() if statement.unbranded}
    others = set()
    for name, statement in unbound.items():
        is_lookup = ".digest = ?" in statement.compiled("sqlite").text
        is_sweep = "sweep" in name.lower() or "sweep" in (statement.unbranded or "")
        others |= set() if is_lookup or is_sweep else {name}
    assert others == set(OF_EVERY_BRAND)


@pytest.mark.attack("A94")
def test_no_operation_reads_the_outbox_of_all_brands() -> None:
    """The command line, the worker and the demo's mailbox do, which no client of a brand reaches."""
    all_brands = {"keystead.mail.outbox", "keystead.mail.worker", "keystead.mail.lease_store"}
    readers = {
        ".".join(module.path.with_suffix("").parts[1:])
        for module in modules("src")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        and {node.module, *(f"{node.module}.{name.name}" for name in node.names)} & all_brands
    }
    assert {reader.split(".")[1] for reader in readers} == {"cli", "mail", "web"}
    in_web = {reader for reader in readers if reader.startswith("keystead.web")}
    assert in_web == {"keystead.web.mailbox", "keystead.web.upkeep"}


@pytest.mark.attack("A94")
def test_statements_are_module_constants() -> None:
    """Statements made inside functions would escape these tests."""
    hidden = {
        ".".join(module.path.with_suffix("").parts[1:])
        for module in modules("src")
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Statement"
        and not _returns_it(function)
    }  # fmt: skip
    assert hidden == MADE_AT_RUN_TIME


def _returns_it(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A helper for module-level constants."""
    return isinstance(function.returns, ast.Name) and function.returns.id == "Statement"


@pytest.mark.attack("A94")
def test_a_fixed_table_names_its_brand() -> None:
    every_statement()
    without = {name for name, table in metadata.tables.items() if "brand_id" not in table.c}
    assert without - OF_THE_INSTALLATION == set()
    assert len(metadata.tables) - len(without) >= 8


@pytest.mark.attack("A94")
def test_no_statement_compiles_without_a_brand() -> None:
    """On any table of brands; tests/db/test_brand_scope.py has every kind of statement."""
    every_statement()
    for table in (table for table in metadata.tables.values() if "brand_id" in table.c):
        by_key = next(column for column in table.c if column.name != "brand_id") == bindparam("p_key")
        mine = table.c.brand_id == bindparam("brand_id")
        for unbound in (select(table).where(by_key), update(table).values(brand_id=bindparam("p_new")), delete(table)):
            with pytest.raises(UnboundBrand):
                Statement(unbound).compiled("sqlite")
        assert Statement(select(table).where(mine, by_key)).compiled("sqlite").text
