"""Where journeys begin: a brand with an administrator and a user, and a client of the whole application.

All of it on both databases. Everything a journey does goes through HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keystead.context import ActiveBrand, Server
from keystead.users.model import User
from tests.api import Api, make_api
from tests.journeys.people import ADMIN, ANN, PASSWORD
from tests.make import make_brand, make_brand_token, make_user


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """``rainbowMakers``: both contracts, every default."""
    return await make_brand(server)


@pytest.fixture
async def brand_token(server: Server, brand: ActiveBrand) -> str:
    """What the apps of ``rainbowMakers`` are handed in advance."""
    return (await make_brand_token(server, brand)).reveal()


@pytest.fixture
async def other_brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    """``greyMakers``. With two brands there is no default one."""
    return await make_brand(server, "greyMakers")


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """A user of ``rainbowMakers`` without any permission."""
    return await make_user(server, brand, ANN, password=PASSWORD)


@pytest.fixture
async def admin(server: Server, brand: ActiveBrand) -> User:
    """The administrator of ``rainbowMakers``."""
    return await make_user(server, brand, ADMIN, password=PASSWORD, permissions=("admin",))


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    """A client of the whole application, in process."""
    client = await make_api(server)
    yield client
    await client.http.aclose()
