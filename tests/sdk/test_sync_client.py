"""The client without ``await``, from threads, against a listening server."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keystead.context import Server
from keystead_client import Client, FileTokens, NetworkError, NotAuthenticated
from keystead_client.errors import InvalidCredentials
from tests.api import listening
from tests.clocks import ManualClock
from tests.make import make_api_key, make_brand, make_entity, make_user

EMAIL = "ann@example.com"
PASSWORD = "rainbow123"


async def test_a_day_of_a_script(server: Server, tmp_path: Path) -> None:
    brand = await make_brand(server)
    await make_user(server, brand, EMAIL, password=PASSWORD)
    path = tmp_path / "tokens.json"

    def script(url: str) -> None:
        now = server.clock.now().timestamp
        with Client(url, brand=brand.name, tokens=FileTokens(path), clock=now) as client:
            with pytest.raises(InvalidCredentials):
                client.login(EMAIL, "not the password")
            client.login(EMAIL, PASSWORD)
            assert path.stat().st_mode & 0o777 == 0o600
        with Client(url, tokens=FileTokens(path), clock=now) as client:
            assert client.me()["email"] == EMAIL
            client.refresh()
            tokens = client.tokens
            assert tokens is not None
            assert tokens.auth_token
            assert client.execute_with(tokens.auth_token, "{ me { email } }") == {"me": {"email": EMAIL}}
            client.logout()
            assert not path.exists()
            with pytest.raises(NotAuthenticated):
                client.me_with(tokens.auth_token)

    async with listening(server.settings, server) as url:
        await asyncio.to_thread(script, url)


@pytest.mark.attack("A104")
async def test_threads_refused_at_once_refresh_once(server: Server, clock: ManualClock) -> None:
    brand = await make_brand(server)
    await make_user(server, brand, EMAIL, password=PASSWORD)

    def script(url: str) -> None:
        with Client(url, brand=brand.name, clock=lambda: 0.0) as client:
            first = client.login(EMAIL, PASSWORD)
            clock.advance(seconds=3601)
            together = threading.Barrier(8)

            def ask() -> str:
                together.wait()
                return str(client.me(["email"])["email"])

            with ThreadPoolExecutor(8) as pool:
                emails = [future.result() for future in [pool.submit(ask) for _ in range(8)]]
            assert emails == [EMAIL] * 8
            second = client.tokens
            assert second is not None
            assert first.refresh_token
            # One rotation, not eight: the second token is the successor of the first.
            assert client.refresh_with(first.refresh_token).refresh_token == second.refresh_token

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


async def test_a_server_that_is_not_there(server: Server) -> None:
    async with listening(server.settings, server) as url:
        pass

    def script() -> None:
        with Client(url, retries=0) as client, pytest.raises(NetworkError) as caught:
            client.login(EMAIL, PASSWORD)
        assert caught.value.was_sent is False

    await asyncio.to_thread(script)
