"""A brand that sends every kind of mail, and an anonymous user of it."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from tests.api import Api
from tests.attacks.mail_operations import make_mailing_brand
from tests.attacks.prehijackers import Guest, make_guest


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    return await make_mailing_brand(server)


@pytest.fixture
async def guest(api: Api, brand_token: str) -> Guest:
    return await make_guest(api, brand_token)
