"""What ``keystead doctor`` looks at in a database itself: whether it takes changes, PostgreSQL's TLS and rights."""

from __future__ import annotations

from collections.abc import AsyncIterator

from keystead.cli.findings import Finding, Status, list_names
from keystead.db.interface import Database, ReadOnly


async def examine_database(db: Database) -> AsyncIterator[Finding]:
    """One line for each thing. Nothing is written.

    :raises ServiceUnavailable: when the database is away.
    """
    try:
        await db.ping()
    except ReadOnly as error:
        yield Finding("database_writes", Status.failure, f"the database takes no changes: {error.cause}")
    else:
        yield Finding("database_writes", Status.ok, "the database takes changes")
    if db.dialect == "postgresql":
        async for finding in _postgres(db):
            yield finding


async def _postgres(db: Database) -> AsyncIterator[Finding]:
    # Imported here: with SQLite there is no need for the driver.
    from keystead.db.postgres import PostgresDatabase
    from keystead.db.postgres_examination import Examination, examine

    if isinstance(db, PostgresDatabase):
        found: Examination = await examine(db)
        yield Finding("database_encoding", Status.ok, found.encoding)
        yield _encryption(found.encryption, is_verified=found.is_verified, is_local=found.is_local)
        if found.is_pooled:
            detail = "there is one: no prepared statements, time limits with each transaction"
            yield Finding("database_pooler", Status.ok, detail)
        if found.invalid_indexes:
            how = "REINDEX INDEX CONCURRENTLY each, unless it is being built"
            detail = f"not valid, so no statement uses them: {list_names(found.invalid_indexes)}. {how}"
            yield Finding("database_indexes", Status.warning, detail)
        else:
            yield Finding("database_indexes", Status.ok, "all are valid")
        for rights, need, status in (
            (found.missing_to_serve, "the server needs", Status.failure),
            (found.missing_to_migrate, "'keystead migrate' needs", Status.warning),
        ):
            if rights:
                yield Finding("database_rights", status, f"the role lacks what {need}: {list_names(rights)}")
        if not found.missing_to_serve and not found.missing_to_migrate:
            yield Finding("database_rights", Status.ok, "the role has every right that it needs")


def _encryption(version: str | None, *, is_verified: bool, is_local: bool) -> Finding:
    if version is not None and is_verified:
        return Finding("database_tls", Status.ok, f"{version}, the certificate is verified")
    if is_local:
        return Finding("database_tls", Status.ok, f"{version or 'not encrypted'}, on this machine")
    what = f"{version}, but the certificate is not verified" if version else "not encrypted"
    return Finding("database_tls", Status.warning, f"{what}: set sslmode=verify-full in KEYSTEAD_DATABASE_URL")
