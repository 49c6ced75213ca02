"""A client that says whose users it means takes those of no other brand, though the server knows them well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from keystead.context import Server
from keystead_client import AsyncClient, NotAuthenticated
from keystead_client.errors import Unauthenticated, Unauthorized
from tests.clocks import ManualClock
from tests.make import make_api_key, make_brand, make_brand_token, make_entities, make_user
from tests.sdk.served import EMAIL, PASSWORD, Served, make_served
from tests.sdk.site import AUTH, Site, Wire


@pytest.fixture
async def served(server: Server) -> Served:
    """Ann is a user of ``rainbowMakers``; Eve rules in ``elsewhere``."""
    served = await make_served(server)
    elsewhere = await make_brand(server, "elsewhere")
    await make_user(server, elsewhere, "eve@example.com", password=PASSWORD, permissions=("admin",))
    return served


@pytest.fixture
async def eves(served: Served) -> AsyncIterator[str]:
    """Her access token."""
    async with served.client(brand="elsewhere") as client:
        tokens = await client.login("eve@example.com", PASSWORD)
        assert tokens.auth_token
        assert (await client.me_with(tokens.auth_token, ["permissions"])) == {"permissions": ["admin"]}
        yield tokens.auth_token


async def options(server: Server, served: Served, kind: str) -> dict[str, Any]:
    match kind:
        case "name":
            return {"brand": served.brand.name}
        case "id":
            return {"brand": served.brand.id}
        case "token":
            return {"brand_token": (await make_brand_token(server, served.brand)).reveal()}
        case _:
            return {"api_key": (await make_api_key(server, served.brand, "read"))[1].reveal()}


@pytest.mark.parametrize("kind", ["name", "id", "token", "key"])
async def test_a_user_of_another_brand_is_refused(server: Server, served: Served, eves: str, kind: str) -> None:
    async with served.client(**await options(server, served, kind)) as client:
        anns = (await client.login_with(EMAIL, PASSWORD)).auth_token
        assert anns
        assert await client.me_with(anns, ["email"]) == {"email": EMAIL}
        with pytest.raises(Unauthenticated):
            await client.me_with(eves, ["id"])


@pytest.mark.parametrize("kind", ["token", "key"])
async def test_bad_credentials_of_the_client_say_nothing_of_the_user(
    server: Server, served: Served, eves: str, kind: str
) -> None:
    """The browser keeps its cookies until the client is fixed."""
    given = await options(server, served, kind)
    given = {name: value[:-8] + "00000000" for name, value in given.items()}
    async with served.client(**given) as client:
        with pytest.raises(Unauthorized):
            await client.me_with(eves, ["id"])


async def test_the_key_of_the_program_says_nothing_of_what_a_user_may_do(server: Server, served: Served) -> None:
    await make_user(server, served.brand, "rob@example.com", password=PASSWORD, permissions=("admin",))
    await make_entities(server, served.brand, "customer")
    _, key = await make_api_key(server, served.brand, "customer:read")
    async with served.client(brand=served.brand.name, api_key=key.reveal()) as client:
        robs = (await client.login_with("rob@example.com", PASSWORD)).auth_token
        assert robs
        assert (await client.me_with(robs))["permissions"] == ["admin"]
        await client.logout_with(robs)
        with pytest.raises(NotAuthenticated):
            await client.me_with(robs)


@pytest.mark.parametrize("kind", ["name", "token"])
async def test_a_site_shows_them_the_way_to_the_login(
    server: Server, served: Served, eves: str, clock: ManualClock, kind: str
) -> None:
    wire, given = Wire(served.application), await options(server, served, kind)
    async with AsyncClient("https://auth.example.com", transport=wire, **given) as client:
        site = Site(wire, clock, client=client)
        async with site.browser() as browser:
            response = await browser.get("/orders", headers={"Cookie": f"{AUTH}={eves}"})
            assert response.headers["location"] == "/auth/login?redirect=/orders"
        await site.sdk.close()
