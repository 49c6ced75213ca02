"""A brand with one user."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.make import make_brand, make_user

PASSWORD = "correct horse battery"


@pytest.fixture
async def brand(server: Server, request: pytest.FixtureRequest) -> ActiveBrand:
    """A brand of both contracts, with the ``FEATURES`` of the test module."""
    return await make_brand(server, features=getattr(request.module, "FEATURES", None) or {})


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """A user with a password."""
    return await make_user(server, brand, password=PASSWORD)
