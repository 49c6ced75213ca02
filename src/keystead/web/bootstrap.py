"""Bootstrap of a process: settings in, an open ``Server`` out. Shared by the CLI and the web server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import structlog

from keystead.audit.denials import Denials
from keystead.brands import service as brands
from keystead.clock import Clock
from keystead.context import Context, RequestDetails, Server, System
from keystead.crypto import jwt
from keystead.crypto.master_key import GUESSABLE_ADVICE, MasterKey, load_master_key, missing_key_file
from keystead.crypto.passwords import PasswordPool, Profile
from keystead.crypto.token_cache import TokenCache
from keystead.db import migrate
from keystead.db.clock import DatabaseClock
from keystead.db.factory import open_database
from keystead.db.interface import Database
from keystead.errors import KeysteadError, Overload, StartupError
from keystead.installation import service as installation
from keystead.settings import Settings

_log = structlog.get_logger("keystead.server")


@asynccontextmanager
async def open_server(
    settings: Settings, *, clock: Clock | None = None, profile: Profile | None = None, may_create: bool = True
) -> AsyncIterator[Server]:
    """Open the server: database at the newest schema, master key checked, keyring loaded.

    Migrates a SQLite file; PostgreSQL must be migrated before (``keystead migrate``). A missing or empty database is
    created only if ``may_create``: a worker's existed when its parent started. Without a ``clock``, the time is the
    database's, measured here for the first time.

    :raises StartupError: with a message of one line.
    """
    profile = profile or Profile()
    if not profile.is_acceptable:
        raise StartupError("The password hashing profile is weaker than this server starts with.")
    jwt.require_usable_issuer(settings.base_url)
    missing = missing_key_file(settings)
    master_key = load_master_key(settings) if missing is None else None
    db = open_database(settings.database_url, may_create=may_create)
    await db.open()
    passwords = PasswordPool(profile)
    try:
        with _database_errors_as_startup_errors():
            if not may_create and await migrate.current_revision(db) is None:
                raise StartupError("The database is empty, but was not when the server started. Restore it.")
            await _bring_up_to_date(db, settings)
            if master_key is None:
                master_key = await _first_master_key(db, settings)
            await installation.reject_guessable(db, master_key)
            clock = clock or await _database_clock(db)
            now = clock.now()
            async with db.transaction() as tx:
                await brands.ensure_reserved(tx, now)
            await installation.prepare(db, master_key, now)
            keyring = await installation.load_keyring(db, master_key, now)
        denials = Denials(db, clock)
        try:
            yield Server(settings, clock, db, master_key, passwords, keyring, TokenCache(), denials=denials)
        finally:
            await denials.close()
    finally:
        passwords.close()
        await db.close()


@contextmanager
def _database_errors_as_startup_errors() -> Iterator[None]:
    """Raise StartupError for a database that is unreachable, full, locked or read-only."""
    try:
        yield
    except Overload as error:
        raise StartupError(f"The database cannot be used: {error.cause or error.message}") from error


async def _database_clock(db: Database) -> DatabaseClock:
    clock = DatabaseClock()
    await clock.measure(db)
    return clock


async def warn_of_missing_rights(db: Database) -> None:
    """Log the rights that the PostgreSQL role lacks, before a request fails for them."""
    if db.dialect == "postgresql":
        # Imported here: with SQLite there is no need for the driver.
        from keystead.db.postgres_examination import missing_rights

        with suppress(KeysteadError):
            if missing := await missing_rights(db):
                _log.warning("database_rights_missing", rights=missing, reason="grant them to the database role")


def warn_of_guessable_key(server: Server) -> None:
    """Log at each start that the master key of the database is guessable."""
    if server.master_key.is_guessable:
        reason = f"easy to guess: {GUESSABLE_ADVICE}"
        _log.warning("master_key_guessable", origin=server.master_key.origin, reason=reason)


async def _bring_up_to_date(db: Database, settings: Settings) -> None:
    if await migrate.is_current(db):
        return
    if not settings.is_sqlite:
        raise StartupError("The database's schema is not the one of this release. Run: keystead migrate")
    await migrate.upgrade(settings.database_url)


async def _first_master_key(db: Database, settings: Settings) -> MasterKey:
    """Create the master key of a new database; never a second one for an existing database.

    :raises StartupError: if the file with the existing database's master key is missing.
    """
    # In this order: a worker that starts concurrently creates the file before it prepares the database.
    is_prepared = await installation.is_prepared(db)
    path = missing_key_file(settings)
    if is_prepared and path is not None:
        line = f"the master key file {path} is missing. Restore it, or set KEYSTEAD_MASTER_KEY."
        raise StartupError(line, exit_code=installation.EX_CONFIG)
    return load_master_key(settings)


def system_context(server: Server, request_id: str) -> Context:
    """The context of the system principal: the CLI and background tasks."""
    return Context(server, RequestDetails(request_id), System())
