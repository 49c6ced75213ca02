"""``keystead migrate``: brings the database's fixed tables up to this release."""

from __future__ import annotations

import asyncio
from pathlib import Path

from keystead.cli.options import AsJson
from keystead.cli.output import print_document, print_lines
from keystead.cli.work import read_settings
from keystead.database_url import sqlite_path


def migrate(as_json: AsJson = False) -> None:
    """Bring the database up to this release. SQLite does it at start; PostgreSQL needs this."""
    before, after = asyncio.run(_migrate(read_settings().database_url))
    if as_json:
        print_document({"from": before, "to": after})
    elif before == after:
        print_lines(f"The database is up to date: {after}")
    else:
        print_lines(f"The database is migrated: {before or 'empty'} -> {after}")


async def _migrate(url: str) -> tuple[str | None, str | None]:
    from keystead.db import migrate as migrations

    before = await _revision(url)
    await migrations.upgrade(url)
    return before, await _revision(url)


async def _revision(url: str) -> str | None:
    from keystead.db import migrate as migrations
    from keystead.db.engine import open_database

    if _is_missing_file(url):
        return None
    db = open_database(url)
    await db.open()
    try:
        return await migrations.current_revision(db)
    finally:
        await db.close()


def _is_missing_file(url: str) -> bool:
    path = sqlite_path(url)
    return path is not None and not Path(path).exists()
