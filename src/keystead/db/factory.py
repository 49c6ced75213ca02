"""Open the database that a URL names."""

from __future__ import annotations

from keystead.db.interface import Database
from keystead.errors import SettingsError
from keystead.settings.database_url import DatabaseUrl, SqliteUrl, parse_database_url


def open_database(url: str, *, may_create: bool = True) -> Database:
    """The database behind ``url``, not yet opened; a missing SQLite file is only created with ``may_create``.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://user:password@host:port/name``. Drivers are
    imported when needed: a server with SQLite does not load asyncpg.

    :raises SettingsError: for any other URL.
    """
    parsed = parse_url(url)
    if isinstance(parsed, SqliteUrl):
        from keystead.db.sqlite import SqliteDatabase

        return SqliteDatabase(parsed.path, may_create=may_create)
    from keystead.db.postgres import PostgresDatabase

    return PostgresDatabase(parsed)


def parse_url(url: str) -> DatabaseUrl:
    """The parts of a database URL.

    :raises SettingsError: when the URL is invalid.
    """
    try:
        return parse_database_url(url)
    except ValueError as error:
        raise SettingsError(f"KEYSTEAD_DATABASE_URL: {error}") from None
