"""A session that ends while something else goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from keystead_client import AsyncClient, MemoryTokens, NotAuthenticated, Tokens
from keystead_client.errors import NetworkError

PAIR = {"auth_token": "auth-2", "refresh_token": "refresh-2"}
ANSWERS: dict[str, Any] = {
    "LogOut(": {"logout": {"data": {"success": True}}},
    "LogOut ": {"logout": {"data": {"success": True}}},
    "LogIn(": {"login": {"data": PAIR}},
    "LogOutEverywhere(": {"invalidateRefreshToken": True},
}


class Slow:
    """Logs in at once; answers a logout when it may."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.fails = False
        self.authorizations: list[str | None] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """The answer to what is asked."""
        self.authorizations.append(request.headers.get("authorization"))
        document = json.loads(request.content)["query"]
        if "LogOut" in document:
            self.is_asked.set()
            await self.may_answer.wait()
            if self.fails:
                raise httpx.ReadError("cut")
        data = next((data for name, data in ANSWERS.items() if name in document), {"up": True})
        return httpx.Response(200, json={"data": data})


def client_of(server: Slow, **options: Any) -> AsyncClient:
    store = MemoryTokens(Tokens("auth-1", "refresh-1"))
    options = {"tokens": store, "retries": 0, **options}
    return AsyncClient("https://id.example.com", transport=httpx.MockTransport(server), **options)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_login_during_a_logout_stays(everywhere: bool, fails: bool) -> None:
    server = Slow()
    server.fails = fails
    async with client_of(server) as client:
        leaving = asyncio.create_task(client.logout_everywhere() if everywhere else client.logout())
        await server.is_asked.wait()
        new = await client.login("ann@example.com", "rainbow123")
        server.may_answer.set()
        (outcome,) = await asyncio.gather(leaving, return_exceptions=True)
        assert isinstance(outcome, NetworkError) is fails
        assert client.tokens == new


async def test_a_logout_that_is_cancelled_ends_no_later_session() -> None:
    server = Slow()
    async with client_of(server) as client:
        leaving = asyncio.create_task(client.logout())
        await server.is_asked.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert client.tokens is None
        new = await client.login("ann@example.com", "rainbow123")
        # Whatever the cancelled one was holding is gone by now.
        del leaving
        assert client.tokens == new


async def test_the_key_does_not_step_in_where_another_process_has_logged_out() -> None:
    server, store = Slow(), MemoryTokens(Tokens("auth-1", "refresh-1"))
    async with client_of(server, tokens=store, api_key="the-key") as client:
        await client.execute("{ up }")
        store.save(None)
        with pytest.raises(NotAuthenticated):
            await client.execute("{ up }")
        assert server.authorizations == ["Bearer auth-1"]
        # A logout of one's own is meant so.
        server.may_answer.set()
        await client.login("ann@example.com", "rainbow123")
        await client.logout()
        await client.execute("{ up }")
        assert server.authorizations[-1] is None


async def test_a_logout_between_two_looks_at_the_store_is_meant_so() -> None:
    class LogsOutMeanwhile(MemoryTokens):
        """Another thread's logout comes while tokens are being loaded."""

        other: threading.Thread | None = None

        def load(self) -> Tokens | None:
            tokens, other, self.other = super().load(), self.other, None
            if other:
                other.start()
            return tokens

    server, store = Slow(), LogsOutMeanwhile(Tokens("auth-1", "refresh-1"))
    async with client_of(server, tokens=store) as client:
        store.other = other = threading.Thread(target=lambda: client._session.begin(None))
        await client.execute("{ up }")
        other.join()
        await client.execute("{ up }")
        assert server.authorizations == ["Bearer auth-1", None]
