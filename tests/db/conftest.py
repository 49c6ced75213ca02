"""Two tables of the tests' own, and statements on them."""

from __future__ import annotations

import pytest
from sqlalchemy.schema import CreateTable

from keystead.db.interface import Database
from tests.db.things import parts, things


@pytest.fixture
async def stocked(db: Database) -> Database:
    """A database with the tables ``things`` and ``parts``."""
    async with db.transaction() as tx:
        await tx.execute_ddl(CreateTable(things))
        await tx.execute_ddl(CreateTable(parts))
    return db
