"""The client against the real server: log in, stay logged in, log out."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from keystead.context import Server
from keystead_client import AsyncClient, Client, MemoryTokens, Tokens
from keystead_client.errors import InvalidCredentials, NotAuthenticated, ServerError
from tests.clocks import ManualClock
from tests.make import make_api_key
from tests.sdk.served import EMAIL, PASSWORD, make_served


async def test_log_in_who_am_i_log_out(server: Server) -> None:
    served = await make_served(server)
    async with served.client() as client:
        tokens = await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        assert tokens.auth_token
        assert tokens.auth_token not in repr(tokens)
        assert (await client.me())["email"] == EMAIL
        await client.logout()
        assert client.tokens is None
        with pytest.raises(NotAuthenticated):
            await client.me_with(tokens.auth_token)


async def test_a_wrong_password_keeps_what_there_was(server: Server) -> None:
    served = await make_served(server)
    async with served.client() as client:
        with pytest.raises(InvalidCredentials):
            await client.login(EMAIL, "not the password", brand=served.brand.name)
        assert client.tokens is None


async def test_calls_without_a_store(server: Server) -> None:
    served = await make_served(server)
    async with served.client() as client:
        first = await client.login_with(EMAIL, PASSWORD, brand=served.brand.name, forwarded_for="198.51.100.4")
        assert first.refresh_token
        second = await client.refresh_with(first.refresh_token)
        assert second.auth_token
        assert (await client.me_with(second.auth_token, ["id", "email"]))["email"] == EMAIL
        asked = await client.execute_with(
            second.auth_token, "query ($ask: Boolean!) { me { email @include(if: $ask) } }", {"ask": True}
        )
        assert asked == {"me": {"email": EMAIL}}
        await client.logout_with(second.auth_token)
        with pytest.raises(NotAuthenticated):
            await client.me_with(second.auth_token)
        with pytest.raises(NotAuthenticated):
            await client.execute_with(second.auth_token, "{ me { email } }")
        assert client.tokens is None


async def test_a_token_near_its_end_is_renewed_before_it_is_used(server: Server, clock: ManualClock) -> None:
    served = await make_served(server)
    async with served.client() as client:
        first = await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        clock.advance(seconds=3600 - 30)
        assert await client.me(["id"])
        assert client.tokens is not None
        assert client.tokens.refresh_token != first.refresh_token
        assert served.sent == ["LogIn", "Refresh", "Me"]


@pytest.mark.attack("A104")
async def test_fifty_refused_at_once_refresh_once(server: Server, clock: ManualClock) -> None:
    served = await make_served(server)
    async with served.client(clock=lambda: 0.0) as client:
        await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        clock.advance(seconds=3601)
        served.sent.clear()
        users = await asyncio.gather(*(client.me(["email"]) for _ in range(50)))
        assert users == [{"email": EMAIL}] * 50
        assert served.sent.count("Refresh") == 1
        assert served.sent.count("Me") <= 100


@pytest.mark.attack("A104")
async def test_a_reused_refresh_token_ends_in_logged_out_and_no_loop(server: Server, clock: ManualClock) -> None:
    served = await make_served(server)
    async with served.client() as thief, served.client(clock=lambda: 0.0) as client:
        tokens = await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        assert tokens.refresh_token
        stolen = await thief.refresh_with(tokens.refresh_token)
        assert stolen.refresh_token
        await thief.refresh_with(stolen.refresh_token)
        clock.advance(seconds=3601)
        served.sent.clear()
        outcomes = await asyncio.gather(*(client.me() for _ in range(20)), return_exceptions=True)
        assert all(isinstance(outcome, NotAuthenticated) for outcome in outcomes)
        assert served.sent.count("Refresh") == 1
        assert client.tokens is None
        served.sent.clear()
        with pytest.raises(NotAuthenticated):
            await client.execute("{ health { data { up } } }")
        assert served.sent == []


async def test_a_session_that_was_ended_elsewhere(server: Server) -> None:
    served = await make_served(server)
    async with served.client() as client, served.client() as elsewhere:
        tokens = await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        assert tokens.auth_token
        await elsewhere.logout_with(tokens.auth_token)
        served.sent.clear()
        with pytest.raises(NotAuthenticated):
            await client.me()
        assert client.tokens is None
        assert served.sent == ["Me", "Refresh"]


async def test_logout_of_a_session_that_is_over_is_a_logout(server: Server) -> None:
    served = await make_served(server)
    async with served.client() as client:
        tokens = await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        assert tokens.auth_token
        await client.logout_with(tokens.auth_token)
        await client.logout()
        assert client.tokens is None
        assert await client.execute("{ health { data { up } } }")


async def test_the_replaced_refresh_token_is_kept_until_the_new_one_has_worked(
    server: Server, clock: ManualClock
) -> None:
    served = await make_served(server)
    store = MemoryTokens()
    async with served.client(tokens=store) as client:
        first = await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        await client.refresh()
        kept = store.load()
        assert kept is not None
        assert kept.previous_refresh_token == first.refresh_token
        await client.me()
        kept = store.load()
        assert kept is not None
        assert kept.previous_refresh_token is None


async def test_an_anonymous_user(server: Server, clock: ManualClock) -> None:
    served = await make_served(server)
    async with served.client(brand_token=served.brand_token) as client:
        tokens = await client.create_me()
        assert tokens.kind == "standing"
        user = await client.me()
        assert user["is_anonymous"] is True
        clock.advance(seconds=901)
        assert (await client.me())["id"] == user["id"]
        kept = client.tokens
        assert kept is not None
        assert kept.refresh_token == tokens.refresh_token
        shared = await client.get_access_token(expires_in=60)
        assert (await client.me_with(shared))["id"] == user["id"]
        await client.logout_everywhere(force=True)
        assert client.tokens is None


async def test_a_standing_login(server: Server) -> None:
    served = await make_served(server)
    async with served.client(brand=served.brand.name) as client:
        await client.login(EMAIL, PASSWORD, session="standing")
        assert (await client.me())["email"] == EMAIL


async def test_an_api_key(server: Server) -> None:
    served = await make_served(server)
    _, key = await make_api_key(server, served.brand, "admin")
    async with served.client(api_key=key.reveal()) as client:
        found = await client.execute("{ apiKeyList { data { name } } }")
        assert found["apiKeyList"]["data"]


async def test_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await make_served(server)
    monkeypatch.setenv("KEYSTEAD_ENDPOINT", "https://auth.example.com")
    monkeypatch.setenv("KEYSTEAD_BRAND_TOKEN", served.brand_token)
    async with AsyncClient(transport=served.transport) as client:
        await client.create_me()
        assert (await client.me())["brand"] == served.brand.name


@pytest.mark.attack("A104")
async def test_a_redirect_is_never_followed() -> None:
    asked: list[str] = []

    def redirect(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"location": "https://evil.example.com/graphql"})

    transport = httpx.MockTransport(redirect)
    async with AsyncClient("https://id.example.com", transport=transport, tokens=Tokens("a", "b")) as client:
        with pytest.raises(ServerError):
            await client.me()
        with pytest.raises(ServerError):
            await client.refresh()
    threaded = Client("https://id.example.com", transport=transport, tokens=Tokens("a", "b"))
    with threaded, pytest.raises(ServerError):
        threaded.me()
    assert asked == ["id.example.com"] * 3


async def test_no_cookie_is_kept() -> None:
    shown: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        shown.append(request.headers.get("cookie"))
        return httpx.Response(200, json={"data": {"me": {}}}, headers={"set-cookie": "a=b; Path=/"})

    async with AsyncClient("https://id.example.com", transport=httpx.MockTransport(answer)) as client:
        await client.me_with("one")
        await client.me_with("other")
    assert shown == [None, None]


async def test_a_clock_that_is_a_day_ahead_does_not_refresh_all_the_time(server: Server) -> None:
    served = await make_served(server)
    async with served.client(clock=lambda: server.clock.now().timestamp() + 86400) as client:
        await client.login(EMAIL, PASSWORD, brand=served.brand.name)
        await client.me()
        await client.me()
    assert served.sent == ["LogIn", "Me", "Me"]
