"""A brand with one user to write to."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.make import make_brand, make_user


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """A brand of both contracts."""
    return await make_brand(server)


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """A user with a login address."""
    return await make_user(server, brand)
