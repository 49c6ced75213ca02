"""A brand with one user, and a second node on the same database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.mail.letters import Box
from tests.make import make_brand, make_server, make_user


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand of both contracts."""
    return await make_brand(server)


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """A user with a login address."""
    return await make_user(server, brand)


@pytest.fixture
async def second(server: Server, database_url: str, clock: ManualClock) -> AsyncIterator[Server]:
    """Another node on the same database."""
    database = open_database(database_url)
    await database.open()
    yield await make_server(database, clock)
    await database.close()


@pytest.fixture
def box(server: Server, brand: ActiveBrand, ann: User, clock: ManualClock) -> Box:
    """The outbox of ``brand``, with mails to ``ann``."""
    return Box(server, brand, ann, clock)
