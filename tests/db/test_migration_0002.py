"""Migration 0002 completes pending addresses from before it, as the code compares them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from sqlalchemy import Boolean, Connection, Integer, column, insert, table
from sqlalchemy.ext.asyncio import create_async_engine

from keystead.db import migrate, types
from keystead.db.factory import open_database
from keystead.users import email_addresses
from keystead.users.email_change_store import lock_addresses

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAIN = ["Ann@Example.com", "IVAN@EXAMPLE.COM", "a+B@xn--mnchen-3ya.example"]
OTHERS = ["jörg@BÜCHER.example", "ÄNNE@example.com", "Straße@example.com", "ſam@example.com", "=?u?q?x?=@example.com"]

BRANDS = table(
    "brands",
    *(column(name, types.Text()) for name in ("id", "name", "preset", "features", "policy")),
    column("redirect_urls", types.Json()),
    column("is_disabled", Boolean()),
    column("schema_version", Integer()),
    *(column(name, types.UtcTime()) for name in ("created_at", "updated_at")),
)
USERS = table(
    "users",
    *(column(name, types.Text()) for name in ("id", "brand_id", "email", "email_canonical", "pending_email")),
    column("permissions", types.Words()),
    column("session_epoch", Integer()),
    column("is_disabled", Boolean()),
    *(column(name, types.UtcTime()) for name in ("created_at", "updated_at")),
)


def fill(connection: Connection) -> None:
    """Revision 0001 with one user per pending address, and one without."""
    command.upgrade(migrate.configuration(connection), "0001")
    made = {"is_disabled": False, "created_at": AT, "updated_at": AT}
    brand = {"id": "brand", "name": "rainbow", "preset": "", "features": "", "policy": "", "redirect_urls": []}
    connection.execute(insert(BRANDS).values(brand | made | {"schema_version": 0}))
    user = {"brand_id": "brand", "permissions": (), "session_epoch": 0, "email": None, "email_canonical": None, **made}
    claims = [user | {"id": address, "pending_email": address} for address in (*PLAIN, *OTHERS)]
    login = {"id": "Login", "email": "Login@example.com", "email_canonical": "login@example.com"}
    connection.execute(insert(USERS), [*claims, user | login | {"pending_email": None}])


def fill_file(path: str, work: Callable[[Connection], None]) -> None:
    Path(path).unlink()
    with migrate.sqlite_engine(path).begin() as connection:
        work(connection)


async def recreate(url: str, work: Callable[[Connection], None]) -> None:
    if url.startswith("sqlite:///"):
        fill_file(url.removeprefix("sqlite:///"), work)
        return
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as pg:
        await pg.exec_driver_sql("DROP SCHEMA public CASCADE")
        await pg.exec_driver_sql("CREATE SCHEMA public")
        await pg.run_sync(work)
    await engine.dispose()


async def test_pending_addresses_are_completed_or_left_invalid(database_url: str) -> None:
    await recreate(database_url, fill)
    await migrate.upgrade(database_url)
    database = open_database(database_url)
    await database.open()
    try:
        async with database.transaction() as tx:
            for claim in PLAIN:
                found = await lock_addresses(tx, "brand", claim)
                assert found is not None
                assert found.pending == email_addresses.parse(claim)
            # These verify nothing until they are requested again.
            for user_id in (*OTHERS, "Login"):
                found = await lock_addresses(tx, "brand", user_id)
                assert found is not None
                assert found.pending is None
    finally:
        await database.close()
