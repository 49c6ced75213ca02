"""A second node on the same database, and an outbox."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keystead.context import ActiveBrand, Server
from keystead.db.factory import open_database
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.mail.letters import Box
from tests.make import make_server


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
