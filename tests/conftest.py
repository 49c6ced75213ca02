"""The fixtures that all tests share: databases, the server, a brand, a user, a client; and what runs when."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from keystead.db.interface import Database
from keystead.sessions.model import Opened
from keystead.users.model import User
from tests.api import Api, make_api
from tests.certificates import Authority, make_authority
from tests.clocks import ManualClock
from tests.databases import PostgresTemplate, SharedDatabase, SqliteTemplate
from tests.event_loop import Tasks, end_later_tasks
from tests.event_loop import earlier_tasks as earlier_tasks
from tests.event_loop import session_loop as session_loop
from tests.make import PASSWORD, make_brand, make_brand_token, make_server, make_session, make_user
from tests.postgres_server import postgres_server
from tests.remembered_schema import fixed_schema as fixed_schema
from tests.scale import IS_FULL
from tests.smtp_server import SmtpServer, SmtpServers

# SQLite's fsync takes most of a test's time on a disk. A container may have a /dev/shm of only 64 MiB.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# SQL decides what these tests show: they always run on both databases, the others on SQLite unless FULL=1.
ON_BOTH_DATABASES = frozenset(
    "api_keys attacks audit brands db entities installation mail processes races sessions users".split()
)
BOTH, SQLITE = ("sqlite", "postgres"), ("sqlite",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that asks for a database on each kind that its folder runs on, unless it names its kind."""
    named = {mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")}
    if "database_kind" in metafunc.fixturenames and "database_kind" not in named:
        folder = metafunc.definition.path.relative_to(Path(__file__).parent).parts[0]
        is_both = folder in ON_BOTH_DATABASES or IS_FULL
        metafunc.parametrize("database_kind", BOTH if is_both else SQLITE, indirect=True)


@pytest.fixture
def clock() -> ManualClock:
    """Noon, 1 January 2026, until the test advances it."""
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
    """A migrated PostgreSQL database, named after the worker of pytest-xdist."""
    with PostgresTemplate(postgres_url, f"keystead_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}") as template:
        yield template


@pytest.fixture(scope="session")
async def shared_sqlite(sqlite_template: SqliteTemplate) -> AsyncIterator[SharedDatabase]:
    """The SQLite database that tests share."""
    shared = SharedDatabase(sqlite_template)
    yield shared
    await shared.close()


@pytest.fixture(scope="session")
async def shared_postgres(postgres_template: PostgresTemplate) -> AsyncIterator[SharedDatabase]:
    """The PostgreSQL database that tests share."""
    shared = SharedDatabase(postgres_template)
    yield shared
    await shared.close()


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """``sqlite`` or ``postgres``; each test runs on the kinds that its folder runs on."""
    kind: str = request.param
    return kind


@pytest.fixture
def own_database() -> None:
    """For tests that damage, close or fill their database: it is not the shared one, and is deleted afterwards."""


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated, empty database; of the open one that tests share if this test asks for ``db``."""
    if "db" in request.fixturenames and "own_database" not in request.fixturenames:
        yield request.getfixturevalue(f"shared_{database_kind}").url
    elif database_kind == "sqlite":
        yield request.getfixturevalue("sqlite_template").copy(tmp_path)
    else:
        template: PostgresTemplate = request.getfixturevalue("postgres_template")
        url = template.copy()
        yield url
        template.drop(url)


@pytest.fixture
def shared_database(request: pytest.FixtureRequest, database_url: str) -> SharedDatabase | None:
    """The one behind ``database_url``, if it is shared."""
    kind = "postgres" if database_url.startswith("postgresql:") else "sqlite"
    shared: SharedDatabase = request.getfixturevalue(f"shared_{kind}")
    return shared if shared.is_at(database_url) else None


@pytest.fixture
async def db(
    shared_database: SharedDatabase | None, database_url: str, earlier_tasks: Tasks
) -> AsyncIterator[Database]:
    """The same, opened."""
    if shared_database is not None:
        yield await shared_database.open()
        await end_later_tasks(earlier_tasks)
        await shared_database.wash()
    else:
        database = open_database(database_url)
        await database.open()
        yield database
        await database.close()


@pytest.fixture
async def server(db: Database, clock: ManualClock) -> AsyncIterator[Server]:
    """The server's state on the database above: keyring, the operators' brand, the cheapest password hashes."""
    made = await make_server(db, clock)
    yield made
    made.passwords.close()


@pytest.fixture
async def brand(server: Server, request: pytest.FixtureRequest) -> ActiveBrand:
    """``rainbowMakers``: both contracts; every default but for what ``pytest.mark.brand(features={...})`` says."""
    mark = request.node.get_closest_marker("brand")
    return await make_brand(server, **(mark.kwargs if mark else {}))


@pytest.fixture
async def brand_token(server: Server, brand: ActiveBrand) -> str:
    """A token of ``brand``."""
    return (await make_brand_token(server, brand)).reveal()


@pytest.fixture
async def other_brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    """``greyMakers``, beside ``brand``: with two brands there is no default one."""
    return await make_brand(server, "greyMakers")


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """ann@example.com, a user of ``brand`` without any permission; her password is ``make.PASSWORD``."""
    return await make_user(server, brand, password=PASSWORD)


@pytest.fixture
async def opened(server: Server, brand: ActiveBrand, ann: User) -> Opened:
    """A pair session of Ann's."""
    return await make_session(server, brand, ann.id)


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """A client of the whole application, in process."""
    client = await make_api(server)
    yield client
    await client.http.aclose()


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    """An SMTP server without TLS or login; ``servers`` makes others."""
    with SmtpServer() as mail_server:
        yield mail_server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of ``servers``; trusted only with ``trusted``."""
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
