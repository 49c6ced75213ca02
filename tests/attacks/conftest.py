"""What every attack meets: a server, a brand with one user, and a client of the whole application.

All of it on both databases. ``server.db`` is ``watched``: it writes down every statement.
"""

from __future__ import annotations

from typing import cast

import pytest

from keystead.context import Server
from keystead.db.interface import Database
from keystead.sessions.model import Opened
from tests.attacks.watched import WatchedDatabase
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.make import make_server


@pytest.fixture
def watched(db: Database) -> WatchedDatabase:
    """The server's database; knows what was asked of it."""
    return WatchedDatabase(db)


@pytest.fixture
async def server(watched: WatchedDatabase, clock: ManualClock) -> Server:
    """A server on the watched database; its clock is ``clock``."""
    return await make_server(cast(Database, watched), clock)


@pytest.fixture
def forge(server: Server, opened: Opened) -> Forge:
    """Makes access tokens for a session of ann's that is alive."""
    return Forge.of(server, opened)
