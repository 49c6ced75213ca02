"""What tests ask for by name: a clock, and a migrated database of each kind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from keystead.context import Server
from keystead.db.factory import open_database
from keystead.db.interface import Database
from tests.certificates import Authority, make_authority
from tests.clocks import ManualClock
from tests.databases import PostgresTemplate, SqliteTemplate
from tests.make import make_server
from tests.postgres_server import postgres_server
from tests.remembered_schema import fixed_schema as fixed_schema
from tests.smtp_server import SmtpServer, SmtpServers


@pytest.fixture
def clock() -> ManualClock:
    """Noon, 1 January 2026, until it is told to advance."""
    return ManualClock()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    """A migrated SQLite file."""
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of this test process, without a database name."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[PostgresTemplate]:
    """A migrated PostgreSQL database. Its name tells the workers of pytest-xdist apart."""
    with PostgresTemplate(postgres_url, f"keystead_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}") as template:
        yield template


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database, empty and of this test alone; each test runs on both kinds."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_template").copy(tmp_path)
        return
    server: PostgresTemplate = request.getfixturevalue("postgres_template")
    url = server.copy()
    yield url
    server.drop(url)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The same, opened."""
    database = open_database(database_url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def server(db: Database, clock: ManualClock) -> Server:
    """What one process holds: the database above, a keyring, the operators' brand."""
    return await make_server(db, clock)


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    """An SMTP server without TLS or login; ``servers`` makes others."""
    with SmtpServer() as mail_server:
        yield mail_server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of ``servers``; nobody trusts it."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The same, trusted by this process."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    return authority


@pytest.fixture
def servers(authority: Authority) -> Iterator[SmtpServers]:
    """Makes SMTP servers with TLS, logins, quirks."""
    with ExitStack() as stack:
        yield SmtpServers(stack, authority)
