"""A server, a user who is logged in, and a verifier that reaches that server within this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.sessions.model import Opened
from keystead.users.model import User
from keystead.web.app import Application
from keystead_client.verify import Verifier
from tests.clocks import ManualClock
from tests.databases import SqliteTemplate
from tests.forging import Forge
from tests.make import make_brand, make_session, make_user
from tests.sdk.verifier.passage import InProcess

Make = Callable[..., Verifier]


@pytest.fixture
def database_url(sqlite_template: SqliteTemplate, tmp_path: Path) -> str:
    """One kind of database: what is tested here stands before it."""
    return sqlite_template.copy(tmp_path)


@pytest.fixture
async def brand(server: Server) -> ActiveBrand:
    """The brand that the verifiers are for."""
    return await make_brand(server)


@pytest.fixture
async def other_brand(server: Server, brand: ActiveBrand) -> ActiveBrand:
    """Another one of the same installation, whose tokens the same keys sign."""
    return await make_brand(server, "greyMakers")


@pytest.fixture
async def ann(server: Server, brand: ActiveBrand) -> User:
    """ann@example.com of ``brand``."""
    return await make_user(server, brand)


@pytest.fixture
async def opened(server: Server, brand: ActiveBrand, ann: User) -> Opened:
    """A session of ann's."""
    return await make_session(server, brand, ann.id)


@pytest.fixture
def forge(server: Server, opened: Opened) -> Forge:
    """Makes access tokens for that session."""
    return Forge.of(server, opened)


@pytest.fixture
async def issuer(server: Server) -> InProcess:
    """The way to the server."""
    application = Application(server.settings)
    await application.open(server)
    return InProcess(application)


@pytest.fixture
def make(server: Server, brand: ActiveBrand, issuer: InProcess, clock: ManualClock) -> Make:
    """Makes verifiers by the server's clock."""

    def make(**choices: Any) -> Verifier:
        given: dict[str, Any] = {"transport": issuer, "clock": lambda: clock.now().timestamp()} | choices
        return Verifier(given.pop("issuer", server.settings.base_url), given.pop("brand", brand.id), **given)

    return make


@pytest.fixture
def verifier(make: Make) -> Verifier:
    """An offline one with every default."""
    return make()
