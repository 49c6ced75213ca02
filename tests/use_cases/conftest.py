"""Use cases, by HTTP alone: an administrator beside the shared brand, user and client."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.make import PASSWORD, make_user
from tests.use_cases.people import ADMIN


@pytest.fixture
async def admin(server: Server, brand: ActiveBrand) -> User:
    """The administrator of ``rainbowMakers``."""
    return await make_user(server, brand, ADMIN, password=PASSWORD, permissions=("admin",))
