"""The migrations make exactly the tables of the code, and say so when they cannot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from secrets import token_hex
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from keystead import errors
from keystead.db import migrate
from keystead.db.factory import open_database
from keystead.db.types import metadata
from tests.databases import import_stores
from tests.db.things import created


async def _inspect(url: str, work: Callable[[Connection], Any]) -> Any:
    if url.startswith("sqlite"):
        with migrate.sqlite_engine(url.removeprefix("sqlite:///")).begin() as connection:
            return work(connection)
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as pg:
        answer = await pg.run_sync(work)
    await engine.dispose()
    return answer


async def test_migrations_create_exactly_the_tables_of_the_code(database_url: str) -> None:
    import_stores()

    def differences(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(context, metadata)

    assert await _inspect(database_url, differences) == []


async def test_partial_indexes_leave_out_the_same_rows(database_url: str) -> None:
    import_stores()

    def conditions(connection: Connection) -> dict[str | None, str]:
        found = {}
        for table in metadata.tables:
            for index in inspect(connection).get_indexes(table):
                options = index.get("dialect_options", {})
                condition = options.get("sqlite_where", options.get("postgresql_where"))
                if condition is not None:
                    # PostgreSQL adds its own casts and parentheses.
                    found[index["name"]] = re.sub(r"::text|[()]", "", str(condition))
        return found

    expected = {
        index.name: str(index.dialect_options["sqlite"]["where"])
        for table in metadata.tables.values()
        for index in table.indexes
        if index.dialect_options["sqlite"]["where"] is not None
    }
    assert await _inspect(database_url, conditions) == expected
    assert len(expected) > 1


async def test_an_empty_database_has_no_revision(tmp_path: object) -> None:
    database = open_database(f"sqlite:///{tmp_path}/empty.db")
    await database.open()
    try:
        assert await migrate.current_revision(database) is None
        assert not await migrate.is_current(database)
    finally:
        await database.close()


async def test_a_database_of_a_newer_release_is_rejected(database_url: str) -> None:
    def from_the_future(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    await _inspect(database_url, from_the_future)
    with pytest.raises(errors.StartupError, match="9999"):
        await migrate.upgrade(database_url)


def test_revisions_are_consecutive() -> None:
    scripts = ScriptDirectory(str(migrate.SCRIPTS))
    revisions = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    assert revisions == [f"{number:04}" for number in range(1, len(revisions) + 1)]
    assert scripts.get_heads() == [migrate.head_revision()]


@pytest.fixture
async def at_0002(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a PostgreSQL database of an earlier release."""
    async with created(postgres_url, f"keystead_old_{token_hex(4)}") as url:
        await _inspect(url, lambda connection: migrate._run_scripts(connection, "0002"))
        yield url


async def test_sessions_are_readable_while_a_later_migration_waits(at_0002: str) -> None:
    """On PostgreSQL each revision ends its transaction: what 0003 locks is free while 0004 waits for ``users``."""
    writer, reader = await asyncpg.connect(at_0002), await asyncpg.connect(at_0002)
    writing = writer.transaction()
    await writing.start()
    await writer.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
    upgrading = asyncio.create_task(migrate.upgrade(at_0002))
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted"
    async with asyncio.timeout(30):
        while not await reader.fetchval(waiting):
            assert not upgrading.done()
            await asyncio.sleep(0)
    for table in ("sessions", "refresh_tokens", "one_time_tokens"):
        assert await reader.fetchval(f"SELECT count(*) FROM {table}", timeout=5) == 0
    assert await reader.fetchval("SELECT version_num FROM alembic_version") == "0003"
    await writing.rollback()
    await upgrading
    assert await reader.fetchval("SELECT version_num FROM alembic_version") == migrate.head_revision()
    await writer.close()
    await reader.close()


async def test_an_invalid_index_is_replaced_and_a_valid_one_kept(at_0002: str) -> None:
    """What a CREATE INDEX CONCURRENTLY that was interrupted leaves has the name, and no statement uses it."""
    connection = await asyncpg.connect(at_0002)
    failed = {"ix_sessions_ended": "sessions", "ix_users_granted": "users"}
    for name, table in failed.items():
        await connection.execute(f"CREATE INDEX {name} ON {table} (id)")
        await connection.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass")
    await connection.execute("CREATE INDEX ix_user_roles_brand_id_role_name ON user_roles (brand_id, role_name)")
    kept = await connection.fetchval("SELECT 'ix_user_roles_brand_id_role_name'::regclass::oid")
    await migrate.upgrade(at_0002)
    assert await connection.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    definitions = {name: await connection.fetchval(f"SELECT pg_get_indexdef('{name}'::regclass)") for name in failed}
    assert "(ended_at) WHERE" in definitions["ix_sessions_ended"]
    assert "(brand_id, id) WHERE" in definitions["ix_users_granted"]
    assert await connection.fetchval("SELECT 'ix_user_roles_brand_id_role_name'::regclass::oid") == kept
    await connection.close()
