"""The server behind real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keystead.context import Server
from keystead.settings import Settings
from tests.api import listening


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    """The port of a server with GraphiQL and mailbox, and the default connection limits."""
    async with listening(Settings(graphiql=True, mailbox=True), server) as url:
        yield int(url.rpartition(":")[2])
