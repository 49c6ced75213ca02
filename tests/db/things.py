"""Tables and statements for the tests of the database layer."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKey, MetaData, Table, UniqueConstraint, bindparam, insert, select, update

from keystead.db import types
from keystead.db.factory import open_database
from keystead.db.interface import Tx
from keystead.db.postgres import PostgresDatabase
from keystead.db.statements import Statement

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


async def add(tx: Tx, key: str = "a", name: str | None = None) -> None:
    """A thing of the brand."""
    await tx.execute(ADD, id=key, brand_id=BRAND, name=name or f"thing {key}")


async def names(tx: Tx) -> list[Any]:
    """The names of the brand's things, in order."""
    return [row[0] for row in await tx.list(NAMES, brand_id=BRAND)]


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
