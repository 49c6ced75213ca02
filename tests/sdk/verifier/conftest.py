"""A server, a user who is logged in, and a verifier that reaches that server within this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keystead.context import ActiveBrand, Server
from keystead.sessions.model import Opened
from keystead.web.app import Application
from keystead_client.verify import Verifier
from tests.clocks import ManualClock
from tests.forging import Forge
from tests.sdk.verifier.passage import InProcess

Make = Callable[..., Verifier]


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
