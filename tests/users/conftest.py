"""A server with one brand, and an administrator of it."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Context, Server
from tests.make import make_entities
from tests.users.actors import acting


@pytest.fixture
async def brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    """The brand that the tests act on, with two entities."""
    return await make_entities(server, brand, "customer", "order")


@pytest.fixture
def admin(server: Server, brand: ActiveBrand) -> Context:
    """A request with ``admin``."""
    return acting(server, brand, "admin")
