"""``keystead migrate``: migrate the database's fixed tables to this release."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keystead.cli.options import AsJson
from keystead.cli.output import list_names, note, print_document, print_lines
from keystead.cli.work import configure_logs, read_settings
from keystead.settings.database_url import sqlite_path

if TYPE_CHECKING:
    from keystead.db.interface import Database


def migrate(as_json: AsJson = False) -> None:
    """Migrate the database to this release. Required for PostgreSQL; SQLite is migrated when a server starts."""
    settings = read_settings()
    configure_logs(settings)
    before, after, missing = asyncio.run(_migrate(settings.database_url))
    if missing:
        note(f"warning: the database role lacks what the server needs: {list_names(missing)}")
    if as_json:
        print_document({"from": before, "to": after})
    elif before == after:
        print_lines(f"The database is up to date: {after}")
    else:
        print_lines(f"The database is migrated: {before or 'empty'} -> {after}")


async def _migrate(url: str) -> tuple[str | None, str | None, Sequence[str]]:
    from keystead.db import migrate as migrations

    before, _ = (None, ()) if _is_missing_file(url) else await _inspect(url)
    await migrations.upgrade(url)
    return before, *await _inspect(url)


async def _inspect(url: str) -> tuple[str | None, Sequence[str]]:
    """The revision, and the missing rights."""
    from keystead.db import migrate as migrations
    from keystead.db.factory import open_database

    db = open_database(url)
    await db.open()
    try:
        return await migrations.current_revision(db), await _missing_rights(db)
    finally:
        await db.close()


async def _missing_rights(db: Database) -> Sequence[str]:
    if db.dialect != "postgresql":
        return ()
    # Imported here: with SQLite the driver is not needed.
    from keystead.db.postgres_examination import missing_rights

    return await missing_rights(db)


def _is_missing_file(url: str) -> bool:
    path = sqlite_path(url)
    return path is not None and not Path(path).exists()
