"""What a role may not do is named before a request finds out; so is a connection that others can read."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from keystead.cli.checks import Finding, Status
from keystead.cli.database_checks import _encryption, check_database
from keystead.db.interface import RightMissing
from keystead.db.postgres import PostgresDatabase
from keystead.db.postgres_connect import is_on_this_machine
from keystead.db.postgres_examination import examine
from keystead.web.bootstrap import warn_of_missing_rights
from tests.db.things import postgres

EVERYTHING = (
    "GRANT CREATE ON DATABASE {database} TO {role}", "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}", "GRANT ALL ON {schema}.customer TO {role}",
    "ALTER TABLE {schema}.customer OWNER TO {role}",
)  # fmt: skip
SCHEMA = "brand_" + "0" * 32


@dataclass(frozen=True)
class Limited:
    """A database as a role with few rights sees it, and its owner's connection."""

    database: PostgresDatabase
    owner: asyncpg.Connection
    role: str

    async def run(self, *texts: str) -> None:
        """As the owner."""
        name = await self.owner.fetchval("SELECT current_database()")
        for text in texts:
            await self.owner.execute(text.format(database=name, schema=SCHEMA, role=self.role))


@pytest.fixture
async def limited(url: str) -> AsyncIterator[Limited]:
    """Of a database with an entity."""
    owner = await asyncpg.connect(url)
    role = f"limited_{token_hex(4)}"  # roles are the server's, which other test processes may share
    await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    await owner.execute(f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.customer (id text)")
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    database = postgres(urlunsplit(parts._replace(netloc=f"{role}:{role}@{place}")))
    await database.open()
    try:
        made = Limited(database, owner, role)
        await made.run(*EVERYTHING)
        yield made
    finally:
        await database.close()
        await owner.execute(f"DROP SCHEMA {SCHEMA} CASCADE; DROP OWNED BY {role}; DROP ROLE {role}")
        await owner.close()


@pytest.mark.parametrize(
    ("family", "peer", "is_local"),
    [
        (socket.AF_UNIX, "/var/run/postgresql/.s.PGSQL.5432", True), (socket.AF_UNIX, "", True),
        (socket.AF_INET, ("127.0.0.1", 5432), True), (socket.AF_INET6, ("::1", 5432, 0, 0), True),
        (socket.AF_INET6, ("::ffff:127.0.0.1", 5432, 0, 0), True), (socket.AF_INET, ("10.1.2.3", 5432), False),
        (socket.AF_INET6, ("::ffff:10.1.2.3", 5432, 0, 0), False),
        (socket.AF_INET6, ("fe80::1%eth0", 5432, 0, 2), False),
    ],
)  # fmt: skip
def test_local_peers(family: int, peer: Any, is_local: bool) -> None:
    assert is_on_this_machine(family, peer) is is_local


async def findings_of(limited: Limited) -> dict[str, Finding]:
    """The first of each check."""
    found = [finding async for finding in check_database(limited.database)]
    return {finding.check: finding for finding in reversed(found)}


async def test_an_index_that_is_not_valid_is_a_warning(limited: Limited) -> None:
    found = await examine(limited.database)
    assert (found.encoding, found.encryption, found.is_local, found.is_pooled) == ("UTF8", None, True, False)
    assert found.missing_to_serve == ()
    assert (await findings_of(limited))["database_indexes"].status is Status.ok
    await limited.run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_sessions_ended'::regclass")
    finding = (await findings_of(limited))["database_indexes"]
    assert finding.status is Status.warning
    assert "ix_sessions_ended. REINDEX INDEX CONCURRENTLY" in finding.detail


@pytest.mark.parametrize(
    ("revoked", "named"),
    [
        ("REVOKE CREATE ON DATABASE {database} FROM {role}", "CREATE on database "),
        ("REVOKE DELETE ON sessions FROM {role}", "DELETE on table sessions"),
        ("REVOKE SELECT ON alembic_version FROM {role}", "SELECT on table alembic_version"),
        ("REVOKE USAGE ON SCHEMA {schema} FROM {role}", f"USAGE on schema {SCHEMA}"),
        ("REVOKE CREATE ON SCHEMA {schema} FROM {role}", f"CREATE on schema {SCHEMA}"),
        ("ALTER TABLE {schema}.customer OWNER TO CURRENT_USER", f"ownership of table {SCHEMA}.customer"),
    ],
)
async def test_missing_privileges_are_named_and_no_internal_error(limited: Limited, revoked: str, named: str) -> None:
    await limited.run(revoked)
    if "CREATE ON DATABASE" in revoked:
        with pytest.raises(RightMissing, match="keystead doctor"):
            async with limited.database.transaction() as tx:
                await tx.execute_ddl("CREATE SCHEMA brand_x")
    missing = (await examine(limited.database)).missing_to_serve
    assert any(right.startswith(named) for right in missing), missing
    finding = (await findings_of(limited))["database_rights"]
    assert finding.status is Status.failure
    assert named in finding.detail


async def test_privileges_for_migrations_are_a_warning(limited: Limited) -> None:
    await limited.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}")
    found = await examine(limited.database)
    assert found.missing_to_serve == ()
    assert found.missing_to_migrate == ("CREATE on schema public", "ownership of table brands")
    assert (await findings_of(limited))["database_rights"].status is Status.warning


@pytest.mark.parametrize(
    ("version", "is_verified", "is_local", "status", "word"),
    [
        ("TLSv1.3", True, False, Status.ok, "the certificate is verified"),
        ("TLSv1.3", False, False, Status.warning, "the certificate is not verified: set sslmode=verify-full"),
        (None, False, False, Status.warning, "not encrypted: set sslmode=verify-full"),
        (None, False, True, Status.ok, "not encrypted, on this machine"),
        ("TLSv1.3", False, True, Status.ok, "TLSv1.3, on this machine"),
    ],
)
def test_findings_on_encryption(
    version: str | None, is_verified: bool, is_local: bool, status: Status, word: str
) -> None:
    found: Finding = _encryption(version, is_verified=is_verified, is_local=is_local)
    assert found.status is status
    assert word in found.detail


async def test_a_starting_server_logs_missing_privileges(limited: Limited) -> None:
    with capture_logs() as lines:
        await warn_of_missing_rights(limited.database)
        assert lines == []
        await limited.run("REVOKE UPDATE ON users FROM {role}")
        await warn_of_missing_rights(limited.database)
    assert [(line["event"], line["rights"]) for line in lines] == [
        ("database_rights_missing", ("UPDATE on table users",))
    ]
