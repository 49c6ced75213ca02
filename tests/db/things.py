"""Tables and statements for the tests of the database layer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Column, ForeignKey, MetaData, Table, UniqueConstraint, bindparam, func, insert, select, update
from sqlalchemy.schema import CreateTable

from keystead.db import types
from keystead.db.factory import open_database
from keystead.db.interface import Database, Tx
from keystead.db.postgres import PostgresDatabase
from keystead.db.statements import Statement

D = TypeVar("D", bound=Database)

BRAND = "0197a000-0000-7000-8000-00000000b001"

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", types.Id, primary_key=True),
    Column("brand_id", types.Id, nullable=False),
    Column("name", types.Text),
    Column("at", types.UtcTime),
    Column("settings", types.Json),
    Column("words", types.Words),
    Column("digest", types.Digest),
    Column("is_open", types.Boolean),
    Column("number", types.BigInteger),
    Column("share", types.Real),
    UniqueConstraint("brand_id", "name", name="uq_things_brand_id_name"),
)
parts = Table(
    "parts",
    metadata,
    Column("id", types.Id, primary_key=True),
    Column("brand_id", types.Id, nullable=False),
    Column("thing_id", types.Id, ForeignKey("things.id", name="fk_parts_thing_id"), nullable=False),
)

_MINE = (things.c.brand_id == bindparam("brand_id"), things.c.id == bindparam("id"))

INSERT = Statement(insert(things))
ADD = Statement(
    insert(things).values(id=bindparam("id"), brand_id=bindparam("brand_id"), name=bindparam("name"), number=0)
)
ADD_PART = Statement(insert(parts))
FIND = Statement(select(*things.c).where(*_MINE))
NUMBER = Statement(select(things.c.number).where(*_MINE))
NAMES = Statement(select(things.c.name).where(things.c.brand_id == bindparam("brand_id")).order_by("name"))
COUNT_UP = Statement(update(things).where(*_MINE).values(number=things.c.number + 1).returning(things.c.number))
SET_NUMBER = Statement(
    update(things).where(things.c.brand_id == bindparam("brand_id")).values(number=bindparam("number"))
)
SETTING = Statement(select(func.current_setting(bindparam("name"))), unbranded="no table at all")


async def add(tx: Tx, key: str = "a", name: str | None = None) -> None:
    """A thing of the brand."""
    await tx.execute(ADD, id=key, brand_id=BRAND, name=name or f"thing {key}")


async def names(tx: Tx) -> list[Any]:
    """The names of the brand's things, in order."""
    return [row[0] for row in await tx.list(NAMES, brand_id=BRAND)]


@asynccontextmanager
async def opened(database: D) -> AsyncIterator[D]:
    """Open a database, with the table ``things``."""
    await database.open()
    try:
        async with database.transaction() as tx:
            await tx.execute_ddl(CreateTable(things))
        yield database
    finally:
        await database.close()


def postgres(url: str) -> PostgresDatabase:
    """A PostgreSQL database, not yet opened."""
    database = open_database(url)
    assert isinstance(database, PostgresDatabase)
    return database


def dsn(database: PostgresDatabase) -> str:
    """The URL of a test's database, for connections beside Keystead's."""
    url = database.url
    ((host, port),) = url.hosts
    return f"postgresql://{url.user}:{url.password}@{host}:{port}/{url.database}"


@asynccontextmanager
async def created(server: str, name: str, options: str = "") -> AsyncIterator[str]:
    """The URL of an empty PostgreSQL database, deleted in the end."""
    control = await asyncpg.connect(f"{server}/postgres")
    await control.execute(f"CREATE DATABASE {name} {options}")
    try:
        yield f"{server}/{name}"
    finally:
        await control.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await control.close()


async def kill_others(url: str) -> None:
    """Terminate every other connection to the database."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
