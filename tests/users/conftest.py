"""A server with one brand, and an administrator of it."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Context, Server
from keystead.db.interface import Database
from tests.clocks import ManualClock
from tests.make import make_brand, make_entities, make_server
from tests.users.actors import acting


@pytest.fixture
async def server(db: Database, clock: ManualClock) -> Server:
    """A server on each kind of database."""
    return await make_server(db, clock)


@pytest.fixture
def brand_features() -> dict[str, bool]:
    """What a test turns on or off in the brand."""
    return {}


@pytest.fixture
async def brand(server: Server, brand_features: dict[str, bool]) -> ActiveBrand:
    """The brand that the tests act on."""
    made = await make_brand(server, features=brand_features)
    return await make_entities(server, made, "customer", "order")


@pytest.fixture
def admin(server: Server, brand: ActiveBrand) -> Context:
    """A request with ``admin``."""
    return acting(server, brand, "admin")
