"""Every statement uses an index that selects few rows, however many users there are.

The databases are filled and have no statistics, as between two runs of ANALYZE (SQLite: always).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import AsyncMock

import asyncpg
import pytest
from sqlalchemy import BindParameter, ForeignKeyConstraint, Table, bindparam, delete, select
from sqlalchemy.sql import Delete

from keystead.brands.store import brands
from keystead.db.statements import Compiled, Statement
from keystead.db.types import UtcTime, metadata
from keystead.entities.model import Entity
from keystead.entities.records import Records
from keystead.entities.tables import DialectName, create_table
from keystead.mail.store import mail_recipients, mails
from keystead.sessions.store import sessions
from keystead.users.store import users
from tests.attacks.test_brand_statements import every_statement
from tests.databases import run
from tests.growth.filling import BRAND, fill
from tests.growth.plans import Access, postgres_plan, sqlite_plan

USERS = int(os.environ.get("KEYSTEAD_GROWTH_USERS", "20000"))
"""SQLite's plans do not depend on it; PostgreSQL considers the size of its files."""

KEYS = {
    *("id", "user_id", "session_id", "key_id", "digest", "recipient_key", "created_by"),
    *("email_canonical", "email_skeleton", "pending_email_skeleton"),
}
"""Selective columns."""

SET_UP = {
    "alembic_version": "one row",
    "installation": "a handful of rows of the installation",
    "signing_keys": "a dozen a year",
}
"""Tables that may be read as a whole."""

OF_ADMINISTRATORS = {"brands", "brand_tokens", "entities", "mail_templates"}
"""Tables that grow by what administrators write, not by users. They are read by name, or all rows of a brand."""

EXCEPTIONS = {
    "brands.store._COUNT": "a total, counted only where it is asked for",
    "brands.store._LIST_TWO": "two rows of any",
    "brands.store._LIST": "a page of brands, by their ids; PostgreSQL reads a small table as a whole",
    "entities.grant_store._LIST[roles]": "when an administrator deletes an entity, to see what was granted on it",
    "entities.grant_store._END[roles]": "the same",
    "users.role_store._COUNT_ROLES": "a total, counted only where it is asked for",
    "users.store._COUNT_USERS": "a total, counted only where it is asked for",
    "api_keys.store._COUNT": "a total, counted only where it is asked for",
    "audit.store._COUNT": "a total, counted only where it is asked for",
    "users.store._FIND_ADMIN": "only where administrators give up their own permission; ends at the first one found",
    "entities.grant_store._LIST[users]": "the users with permissions of their own, by an index that has no others",
    "entities.grant_store._END[users]": "the same, where an entity is deleted",
    "entities.grant_store._LIST[api_keys]": "the keys of a brand, where an entity is made or deleted",
    "entities.grant_store._END[api_keys]": "the same, where one of them names the entity",
    "mail.store._LIST": "the command line shows the outbox, in which mails stay for thirty days",
    "mail.store._LIST_ALL": "the same",
    "mail.store._COUNT_OF_BRAND": "the same",
    "mail.store._COUNT_ALL": "the same",
    "mail.store._COUNT_STATES": "the same",
    "mail.store._COUNT_LATE": "doctor counts the mails that wait",
    "mail.lease_store._FIND_DUE": "mails that are due, the first by an index; and the few in hand",
    "mail.lease_store._LEASE_NEW": "mails that are due, in the order of an index",
    "mail.lease_store._LEASE_WAITING": "mails that are due, in the order of an index",
    "mail.lease_store._LEASE_EXPIRED": "mails in hand: four for each process",
    "mail.lease_store._RELEASE": "mails in hand: four for each process",
}
"""Statements that read more, with the reason."""

ENTITY = Entity.from_stored(
    "thing", {"fields": {"title": {"type": "string"}, "code": {"type": "string", "unique": True}}}
)

DEEP = 15_000
"""Rows that a deep page skips, of 20,000."""

Plan = Callable[[Compiled, int], Awaitable[list[Access]]]


class Filled:
    """A filled database and its query plans."""

    def __init__(self, dialect: DialectName, plan: Plan) -> None:
        self.dialect = dialect
        self._plan = plan

    async def offences(self, statement: Statement, offset: int = 21) -> list[str]:
        """The accesses of the statement that violate the rule, for a page that skips ``offset`` rows."""
        accesses = await self._plan(statement.compiled(self.dialect), offset)
        return [str(access) for access in accesses if not _is_fine(access)]


def _is_fine(access: Access) -> bool:
    if access.is_paged or access.columns & KEYS or access.table in SET_UP:
        return True
    if access.table == "roles":  # with each request, for each user of a page
        return "name" in access.columns
    return access.table in OF_ADMINISTRATORS and bool(access.columns & {"brand_id", "name"})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a filled database, with a table of records beside the fixed ones."""
    folder: Path = tmp_path_factory.mktemp("filled")
    every_statement()
    template = request.getfixturevalue("sqlite_template" if request.param == "sqlite" else "postgres_template")
    url = template.copy(folder) if request.param == "sqlite" else template.copy()
    run(fill(url, USERS))
    yield url
    template.remove(url)


@pytest.fixture
async def filled(filled_url: str) -> AsyncIterator[Filled]:
    if filled_url.startswith("sqlite"):
        connection = sqlite3.connect(filled_url.removeprefix("sqlite:///"))

        async def plan(compiled: Compiled, _offset: int) -> list[Access]:
            return sqlite_plan(connection, compiled)

        yield Filled("sqlite", plan)
        connection.close()
    else:
        postgresql = await asyncpg.connect(filled_url, server_settings={"jit": "off"})
        yield Filled("postgresql", partial(postgres_plan, postgresql))
        await postgresql.close()


@pytest.mark.parametrize("offset", [21, DEEP])
async def test_every_statement_uses_a_selective_index(filled: Filled, offset: int) -> None:
    offences = {
        name.removeprefix("keystead."): found
        for name, statement in every_statement().items()
        if (found := await filled.offences(statement, offset))
    }
    assert {name: found for name, found in offences.items() if name not in EXCEPTIONS} == {}


def test_every_exception_names_a_statement() -> None:
    assert {f"keystead.{name}" for name in EXCEPTIONS} <= set(every_statement())


@pytest.mark.parametrize("name", ["_LIST[users]", "_END[users]"])
async def test_grants_on_an_entity_use_the_index_of_users_with_grants(filled_url: str, name: str) -> None:
    statement = every_statement()[f"keystead.entities.grant_store.{name}"]
    if filled_url.startswith("sqlite"):
        connection = sqlite3.connect(filled_url.removeprefix("sqlite:///"))
        compiled = statement.compiled("sqlite")
        rows = connection.execute(f"EXPLAIN QUERY PLAN {compiled.text}", [None] * len(compiled.parameters)).fetchall()
        connection.close()
        found = str(rows)
    else:
        postgresql = await asyncpg.connect(filled_url)
        await postgresql.execute(f"PREPARE asked AS {statement.compiled('postgresql').text}")
        values = ", ".join(["'2026-01-01'"] * len(statement.compiled("postgresql").parameters))
        found = str(await postgresql.fetch(f"EXPLAIN EXECUTE asked({values})"))
        await postgresql.close()
    assert "ix_users_granted" in found


_MINE = users.c.brand_id == bindparam("brand_id")
_OLD = sessions.c.ended_at < bindparam("before", type_=UtcTime())
_LIMIT: BindParameter[int] = bindparam("limit")
FAULTS = {
    "a column without index": select(users.c.id).where(users.c.username == bindparam("x")),
    "all of a brand": select(users.c.username).where(_MINE),
    "all of a brand, for its order": select(users.c.id).where(_MINE).order_by(users.c.username).limit(_LIMIT),
    "no order": delete(sessions).where(sessions.c.id.in_(select(sessions.c.id).where(_OLD).limit(_LIMIT))),
    "all of one state": select(mails.c.id).where(mails.c.state == bindparam("x")),
    "all before a time": delete(mail_recipients).where(mail_recipients.c.asked_at < bindparam("x")),
    "no condition": select(sessions.c.id),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_rule_finds(filled: Filled, fault: str) -> None:
    follows_the_index_anyway = fault == "no order" and filled.dialect == "sqlite"
    assert bool(await filled.offences(Statement(FAULTS[fault], unbranded="test"))) is not follows_the_index_anyway


@pytest.mark.parametrize("owner", [None, "an owner's id"])
async def test_records_are_read_by_an_id_or_a_page(filled: Filled, filled_url: str, owner: str | None) -> None:
    records = Records(BRAND, ENTITY, filled.dialect)
    await _make_table(filled_url, create_table(records.table, filled.dialect))
    recorder = AsyncMock()
    recorder.list.return_value, recorder.find.return_value, recorder.execute.return_value = [], None, 0
    names = frozenset({"id", "title"})
    await records.page(recorder, names, 21, 0, owner)
    await records.find(recorder, "an id", names, owner)
    await records.update(
        recorder, await records.prepare_update(["title"], names, owner), "an id", {"title": "new"}, owner
    )
    await records.delete(recorder, await records.prepare_delete(owner), ["an id"], owner)
    assert [await filled.offences(statement) for _, (statement, *_), _ in recorder.mock_calls] == [[], [], [], []]


async def _make_table(url: str, texts: list[str]) -> None:
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name LIKE 'e\\_%' ESCAPE '\\'").fetchone():
            for text in texts:
                connection.execute(text)
        connection.commit()
        connection.close()
        return
    postgresql = await asyncpg.connect(url)
    if not await postgresql.fetchval("SELECT 1 FROM pg_tables WHERE schemaname LIKE 'brand\\_%'"):
        for text in texts:
            await postgresql.execute(text)
        table = texts[1].split("(", 1)[0].split()[-1]
        await postgresql.execute(
            f"INSERT INTO {table} (id, created_at, updated_at, created_by) "
            "SELECT 'r' || n, now(), now(), 'u' || n % 100 FROM generate_series(1, 20000) n"
        )
    await postgresql.close()


def _begins_an_index(table: Table, columns: set[str]) -> bool:
    keys = [[column.name for column in table.primary_key]]
    keys += [[column.name for column in index.columns] for index in table.indexes]
    return any(set(key[: len(columns)]) == columns for key in keys)


def test_foreign_keys_have_an_index() -> None:
    """Deleting a row makes both databases look for referencing rows."""
    every_statement()
    without = {
        f"{table.name} -> {key.referred_table.name}"
        for table in metadata.tables.values()
        for key in table.constraints
        if isinstance(key, ForeignKeyConstraint)
        and key.referred_table is not brands
        and not _begins_an_index(table, {column.name for column in key.columns})
    }
    assert without == set()


def test_no_statement_deletes_a_brand() -> None:
    """Foreign keys to brands therefore need no index."""
    deleted = [s.expression.table for s in every_statement().values() if isinstance(s.expression, Delete)]
    assert sessions in deleted
    assert brands not in deleted


def test_indexes_on_nullable_columns_are_partial() -> None:
    every_statement()
    assert {
        index.name
        for table in metadata.tables.values()
        for index in table.indexes
        if next(iter(index.columns)).nullable
        and not all(index.dialect_options[name]["where"] is not None for name in ("sqlite", "postgresql"))
    } == set()
