"""Where journeys begin: a brand with an administrator and a user, and a client of the whole application.

All of it on both databases. Everything a journey does goes through HTTP.
"""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.use_cases.people import ADMIN
from tests.make import PASSWORD, make_user


@pytest.fixture
async def admin(server: Server, brand: ActiveBrand) -> User:
    """The administrator of ``rainbowMakers``."""
    return await make_user(server, brand, ADMIN, password=PASSWORD, permissions=("admin",))
