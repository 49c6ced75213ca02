"""Databases with tables of the tests' own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.schema import CreateTable

from keystead.db.interface import Database
from keystead.db.postgres import PostgresDatabase
from keystead.db.sqlite import SqliteDatabase
from tests.databases import PostgresTemplate
from tests.db.things import opened, parts, postgres, things


@pytest.fixture
async def stocked(db: Database) -> Database:
    """A database with the tables ``things`` and ``parts``."""
    async with db.transaction() as tx:
        await tx.execute_ddl(CreateTable(things))
        await tx.execute_ddl(CreateTable(parts))
    return db


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A SQLite database with the table ``things``."""
    async with opened(SqliteDatabase(str(tmp_path / "keystead.db"))) as database:
        yield database


@pytest.fixture
def url(postgres_template: PostgresTemplate) -> Iterator[str]:
    """A migrated PostgreSQL database of the test's own."""
    made = postgres_template.copy()
    yield made
    postgres_template.drop(made)


@pytest.fixture
async def server(url: str) -> AsyncIterator[PostgresDatabase]:
    """The same, opened, with the table ``things``."""
    async with opened(postgres(url)) as database:
        yield database
