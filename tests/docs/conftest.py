"""The brand that the examples of the SDK's pages name."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from tests.docs.examples import EMAIL, PASSWORD
from tests.make import make_brand, make_user


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """``rainbowMakers``, where Ann can log in."""
    brand = await make_brand(server)
    await make_user(server, brand, EMAIL, password=PASSWORD)
    return brand
