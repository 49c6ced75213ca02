"""Alembic for the fixed tables. Revisions are numbered ``0001``, ``0002``, ... and form one line.

Alembic and SQLAlchemy's engines are imported only for migrations: a running server does not load them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import Column, MetaData, Table, select

from keystead import errors
from keystead.db.factory import parse_url
from keystead.db.interface import Database, SchemaChanged
from keystead.db.statements import Statement
from keystead.db.types import Text
from keystead.settings.database_url import PostgresUrl, SqliteUrl

if TYPE_CHECKING:
    import sqlite3

    from alembic.config import Config
    from sqlalchemy import Connection, Engine

SCRIPTS = Path(__file__).parent / "migrations"
LOCK_TIMEOUT = 10
"""Seconds to wait for another migrating process, or for a table in use."""

_ADVISORY_LOCK = 0x6B65797374656164 >> 1
_VERSION = Table("alembic_version", MetaData(), Column("version_num", Text))
_CURRENT = Statement(select(_VERSION.c.version_num), unbranded="one row for the whole database")


async def current_revision(database: Database) -> str | None:
    """The revision of an open database; None when it is empty."""
    try:
        row = await database.reads.find(_CURRENT)
    except SchemaChanged:
        return None
    return None if row is None else str(row[0])


def head_revision() -> str | None:
    """The newest revision of this program."""
    return max(_revisions(), default=None)


def _revisions() -> list[str]:
    """All revisions of this program, in order."""
    return sorted(script.name[:4] for script in (SCRIPTS / "versions").glob("[0-9]*.py"))


async def is_current(database: Database) -> bool:
    """Whether the database has the newest revision of this program."""
    return await current_revision(database) == head_revision()


async def is_served(database: Database) -> bool:
    """Whether a running server of this release can serve: the tables are its own, or those of a later release.

    Migrations only add what the next release needs. A process that *starts* asks :func:`is_current`.
    """
    return (await current_revision(database) or "") >= (head_revision() or "")


async def upgrade(url: str) -> None:
    """Migrate the database of ``url`` to the newest revision; one process at a time.

    SQLite in one transaction; PostgreSQL in one per revision, so that no table stays locked while the next is awaited.

    :raises StartupError: when it is not reachable, locked for too long, or newer than this program.
    """
    parsed = parse_url(url)
    if isinstance(parsed, SqliteUrl):
        await asyncio.to_thread(_upgrade_sqlite, parsed.path)
    else:
        await _upgrade_postgres(parsed)


def configuration(connection: Connection, **attributes: Any) -> Config:
    """Alembic's configuration for an open connection in a transaction."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes.update(attributes, connection=connection)
    return config


def sqlite_engine(path: str) -> Engine:
    """An SQLAlchemy engine for SQLite whose transactions include DDL."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import URL
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        URL.create("sqlite", database=path), poolclass=NullPool, connect_args={"timeout": LOCK_TIMEOUT}
    )

    @event.listens_for(engine, "connect")
    def _autocommit(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _run_scripts(connection: Connection, target: str = "head") -> None:
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(configuration(connection), target)
    except CommandError as error:
        raise errors.StartupError(f"This version of Keystead does not know the database's revision: {error}") from None


def _upgrade_sqlite(path: str) -> None:
    from sqlalchemy.exc import DBAPIError

    from keystead.db.sqlite_file import make_private

    try:
        make_private(path)
        engine = sqlite_engine(path)
        with engine.begin() as connection:
            _run_scripts(connection)
    except OSError as error:
        raise errors.StartupError(f"Cannot open the SQLite database {path}: {error.strerror}") from None
    except DBAPIError as error:
        raise errors.StartupError(f"Cannot migrate the SQLite database {path}: {error.orig}") from error


async def _upgrade_postgres(url: PostgresUrl) -> None:
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    from keystead.db.postgres_connect import FAILURES, Connector, require_utf8, unreachable

    async def connect(*_: Any, **__: Any) -> Any:
        connection = await Connector(url, has_limits=False).connect()
        require_utf8(connection, url)
        return connection

    # Unique names: behind a pooler another session's statement may have the next name that asyncpg would use.
    arguments = {
        "async_creator_fn": connect,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"keystead_{uuid4().hex}",
    }
    engine = create_async_engine("postgresql+asyncpg://", connect_args=arguments, poolclass=NullPool)
    try:
        for revision in _revisions():
            async with engine.begin() as connection:
                await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
                await connection.run_sync(_run_scripts, revision)
    except DBAPIError as error:
        cause = getattr(error.orig, "__cause__", None) or error.orig
        raise errors.StartupError(f"Cannot migrate the PostgreSQL database: {cause}") from error
    except FAILURES as error:
        raise unreachable(url, error) from None
    finally:
        await engine.dispose()
