"""What the tests of web applications meet: a site in front of a real server, and a browser that is logged in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from keystead.context import Server
from keystead.users.model import User
from tests.clocks import ManualClock
from tests.make import PASSWORD
from tests.sdk.site import Site, Wire, make_wire


@pytest.fixture
async def wire(server: Server) -> Wire:
    """Between the site and the server."""
    return await make_wire(server)


@pytest.fixture
async def site(wire: Wire, clock: ManualClock, ann: User) -> AsyncIterator[Site]:
    """An application behind the middleware, with every default."""
    site = Site(wire, clock)
    yield site
    await site.sdk.close()


@pytest.fixture
async def browser(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in which Ann has logged in; the wire counts from here on."""
    async with site.browser() as browser:
        response = await browser.post("/auth/login", json={"email": "ann@example.com", "password": PASSWORD})
        assert response.json()["success"], response.text
        site.wire.sent.clear()
        yield browser
