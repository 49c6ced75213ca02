"""What every attack meets: a server, a brand with one user, and a client of the whole application.

All of it on both databases. ``server.db`` is ``watched``: it writes down every statement.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.interface import Database
from keystead.sessions.model import Opened
from keystead.users.model import User
from tests.api import Api, make_api
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import make_brand, make_brand_token, make_server, make_session, make_user

PASSWORD = "correct horse battery"


@pytest.fixture
def watched(db: Database) -> WatchedDatabase:
    """The server's database; knows what was asked of it."""
    return WatchedDatabase(db)


@pytest.fixture
async def server(watched: WatchedDatabase, clock: ManualClock) -> Server:
    """A server on the watched database; its clock is ``clock``."""
    return await make_server(watched, clock)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """``rainbowMakers``: both contracts, every default."""
    return await make_brand(server)


@pytest.fixture
async def brand_token(server: Server, brand: ActiveBrand) -> str:
    """A token of ``brand``."""
    return (await make_brand_token(server, brand)).reveal()


@pytest.fixture
async def other_brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    """``greyMakers``, beside ``brand``: with two of them there is no default brand."""
    return await make_brand(server, "greyMakers")


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """ann@example.com of ``brand``, without any permission; her password is PASSWORD."""
    return await make_user(server, brand, password=PASSWORD)


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """A client of the whole application, in process."""
    client = await make_api(server)
    yield client
    await client.http.aclose()


@pytest.fixture
def forge(server: Server, opened: Opened) -> Forge:
    """Makes access tokens for a session of ann's that is alive."""
    return Forge.of(server, opened)


@pytest.fixture
async def opened(server: Server, brand: ActiveBrand, ann: User) -> Opened:
    """A session of ann's, of the pair contract."""
    return await make_session(server, brand, ann.id)
