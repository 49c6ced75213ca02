"""Both clients against the real server: log in, stay logged in, log out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from keystead.context import Server
from keystead_client import AsyncClient, Client, FileTokens, MemoryTokens, Tokens
from keystead_client.errors import InvalidCredentials, NotAuthenticated, ServerError
from tests.api import listening
from tests.clocks import ManualClock
from tests.make import make_api_key, make_brand, make_entity, make_user
from tests.sdk.served import EMAIL, PASSWORD, Served, make_served

HEALTH = "{ health { data { up } } }"


@pytest.fixture
async def served(server: Server) -> Served:
    """A server in this process, with one user."""
    return await make_served(server)


async def test_a_session_of_the_client(served: Served) -> None:
    async with served.client(brand=served.brand.name) as client:
        with pytest.raises(InvalidCredentials):
            await client.login(EMAIL, "not the password")
        assert client.tokens is None
        tokens = await client.login(EMAIL, PASSWORD)
        assert tokens.auth_token
        assert tokens.auth_token not in repr(tokens)
        assert (await client.me())["email"] == EMAIL
        await client.logout()
        assert client.tokens is None
        with pytest.raises(NotAuthenticated):
            await client.me_with(tokens.auth_token)
        await client.login(EMAIL, PASSWORD, session="standing")
        assert (await client.me())["email"] == EMAIL


async def test_sessions_that_are_passed_in(served: Served) -> None:
    async with served.client(brand=served.brand.name) as client:
        first = await client.login_with(EMAIL, PASSWORD, forwarded_for="198.51.100.4")
        second = await client.refresh_with(first.refresh_token)
        assert (await client.me_with(second.auth_token, ["id", "email"]))["email"] == EMAIL
        document = "query ($ask: Boolean!) { me { email @include(if: $ask) } }"
        assert await client.execute_with(second.auth_token, document, {"ask": True}) == {"me": {"email": EMAIL}}
        await client.logout_with(second.auth_token)
        for call in (client.me_with(second.auth_token), client.execute_with(second.auth_token, "{ me { email } }")):
            with pytest.raises(NotAuthenticated):
                await call
        third = await client.login_with(EMAIL, PASSWORD)
        for _ in range(2):
            await client.logout_with(refresh_token=third.refresh_token)
        with pytest.raises(NotAuthenticated):
            await client.me_with(third.auth_token)
        assert client.tokens is None


async def test_a_token_is_refreshed_before_it_expires(served: Served, clock: ManualClock) -> None:
    store = MemoryTokens()
    async with served.client(tokens=store, brand=served.brand.name) as client:
        first = await client.login(EMAIL, PASSWORD)
        clock.advance(seconds=3600 - 30)
        await client.refresh()
        saved = store.load()
        assert saved is not None
        assert saved.previous_refresh_token == first.refresh_token, "kept until the new tokens have worked"
        clock.advance(seconds=3600 - 30)
        assert await client.me(["id"])
        saved = store.load()
        assert saved is not None
        assert saved.previous_refresh_token is None
        assert served.sent == ["LogIn", "Refresh", "Refresh", "Me"]


async def test_a_clock_that_is_a_day_ahead_does_not_refresh_all_the_time(served: Served) -> None:
    async with served.client(clock=lambda: served.server.clock.now().timestamp() + 86400) as client:
        await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        await client.me()
        await client.me()
    assert served.sent == ["LogIn", "Me", "Me"]


@pytest.mark.attack("A104")
async def test_fifty_rejected_concurrently_refresh_once(served: Served, clock: ManualClock) -> None:
    async with served.client(clock=lambda: 0.0) as client:
        await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        clock.advance(seconds=3601)
        served.sent.clear()
        users = await asyncio.gather(*(client.me(["email"]) for _ in range(50)))
        assert users == [{"email": EMAIL}] * 50
        assert served.sent.count("Refresh") == 1
        assert served.sent.count("Me") <= 100


@pytest.mark.attack("A104")
async def test_a_reused_refresh_token_ends_in_logged_out_and_no_loop(served: Served, clock: ManualClock) -> None:
    async with served.client() as thief, served.client(clock=lambda: 0.0) as client:
        tokens = await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        stolen = await thief.refresh_with(tokens.refresh_token)
        await thief.refresh_with(stolen.refresh_token)
        clock.advance(seconds=3601)
        served.sent.clear()
        outcomes = await asyncio.gather(*(client.me() for _ in range(20)), return_exceptions=True)
        assert all(isinstance(outcome, NotAuthenticated) for outcome in outcomes)
        assert served.sent.count("Refresh") == 1
        assert client.tokens is None
        served.sent.clear()
        with pytest.raises(NotAuthenticated):
            await client.execute(HEALTH)
        assert served.sent == []


async def test_a_session_that_was_ended_elsewhere(served: Served) -> None:
    async with served.client(brand=served.brand.name) as client, served.client() as elsewhere:
        tokens = await client.login(EMAIL, PASSWORD)
        await elsewhere.logout_with(tokens.auth_token)
        served.sent.clear()
        with pytest.raises(NotAuthenticated):
            await client.me()
        assert client.tokens is None
        assert served.sent == ["Me", "Refresh"]
        tokens = await client.login(EMAIL, PASSWORD)
        await elsewhere.logout_with(tokens.auth_token)
        await client.logout()
        assert await client.execute(HEALTH), "a logout of a session that is over is a logout"


async def test_an_anonymous_user(served: Served, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSTEAD_ENDPOINT", "https://auth.example.com")
    monkeypatch.setenv("KEYSTEAD_BRAND_TOKEN", served.brand_token)
    now = served.server.clock.now
    async with AsyncClient(transport=served.transport, clock=lambda: now().timestamp()) as client:
        tokens = await client.create_me()
        user = await client.me()
        assert (tokens.kind, user["is_anonymous"], user["brand"]) == ("standing", True, served.brand.name)
        clock.advance(seconds=901)
        assert (await client.me())["id"] == user["id"]
        assert client.tokens is not None
        assert client.tokens.refresh_token == tokens.refresh_token
        shared = await client.get_access_token(expires_in=60)
        assert (await client.me_with(shared))["id"] == user["id"]
        await client.logout_everywhere(force=True)
        assert client.tokens is None


@pytest.mark.attack("A104")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed_and_no_cookie_kept(status: int) -> None:
    asked: list[tuple[str, str | None]] = []

    def redirect(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.host, request.headers.get("cookie")))
        headers = {"location": "https://evil.example.com/graphql", "set-cookie": "a=b; Path=/"}
        return httpx.Response(status, headers=headers, json={"data": {}})

    options: dict[str, Any] = {"transport": httpx.MockTransport(redirect), "tokens": Tokens("a", "b")}
    async with AsyncClient("https://id.example.com", **options) as client:
        for call in (client.me(), client.refresh(), client.me_with("other")):
            with pytest.raises(ServerError):
                await call
    with Client("https://id.example.com", **options) as threaded, pytest.raises(ServerError):
        threaded.me()
    assert asked == [("id.example.com", None)] * 4


# ----------------------------------------------------------------------------------------------------------- threads


async def test_a_script_with_a_token_file(server: Server, tmp_path: Path) -> None:
    brand = await make_brand(server)
    await make_user(server, brand, EMAIL, password=PASSWORD)
    path = tmp_path / "tokens.json"

    def script(url: str) -> None:
        now = server.clock.now().timestamp
        with Client(url, brand=brand.name, tokens=FileTokens(path), clock=now) as client:
            client.login(EMAIL, PASSWORD)
            assert path.stat().st_mode & 0o777 == 0o600
        with Client(url, tokens=FileTokens(path), clock=now) as client:
            assert client.me()["email"] == EMAIL
            tokens = client.refresh()
            assert client.execute_with(tokens.auth_token, "{ me { email } }") == {"me": {"email": EMAIL}}
            client.logout()
            assert not path.exists()
            with pytest.raises(NotAuthenticated):
                client.me_with(tokens.auth_token)

    async with listening(server.settings, server) as url:
        await asyncio.to_thread(script, url)


async def test_records_by_api_key(server: Server) -> None:
    brand = await make_entity(server, await make_brand(server))
    _, key = await make_api_key(server, brand, "read", "write")

    def script(url: str) -> None:
        with Client(url, api_key=key.reveal()) as client:
            customers = client.entity("customer")
            made = customers.create({"name": "Ann"}, ["id", "name"])
            assert customers.update(made["id"], {"name": "Bea"}, ["name"]) == {"name": "Bea"}
            assert [row["name"] for row in customers.list(["name"]).data] == ["Bea"]
            assert customers.by_id(made["id"], ["name"]) == {"name": "Bea"}
            customers.delete([made["id"]])
            assert customers.by_id(made["id"]) is None

    async with listening(server.settings, server) as url:
        await asyncio.to_thread(script, url)
