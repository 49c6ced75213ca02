"""Fixtures of the e-mail changes."""

from __future__ import annotations

import pytest

from keystead.context import ActiveBrand, Server
from keystead.sessions.model import Opened
from tests.authentication.email_changes import make_anonymous


@pytest.fixture
async def guest(server: Server, brand: ActiveBrand) -> Opened:
    """A session of an anonymous user."""
    return await make_anonymous(server, brand)
