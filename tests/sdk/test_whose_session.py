"""Whose tokens a request goes with, where several users, threads or processes share a client or a store."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from keystead_client import AsyncClient, Client, MemoryTokens, NotAuthenticated, Tokens
from keystead_client._protocol import Refresh, Step
from keystead_client.errors import Unauthenticated


def of(user: str, **claims: Any) -> str:
    payload = json.dumps({"sub": user, "iat": 0, "exp": 10**12, **claims}).encode()
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c2ln"


def told(request: httpx.Request) -> dict[str, Any]:
    """The claims of the access token that a request shows."""
    part = request.headers["authorization"].split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def asked(request: httpx.Request) -> str:
    """The name of the operation."""
    document: str = json.loads(request.content)["query"]
    return document.split()[1].partition("(")[0]


def data(**members: Any) -> httpx.Response:
    return httpx.Response(200, json={"data": members})


def refusal() -> httpx.Response:
    return httpx.Response(401, json={"errors": [{"message": "no", "extensions": {"code": "UNAUTHENTICATED"}}]})


class Slow:
    """Makes Bob, gives out access tokens and logs in when it may; runs what it is asked as whoever asks."""

    def __init__(self) -> None:
        self.may_answer = {"rt-ann": asyncio.Event(), "CreateMe": asyncio.Event()}
        self.is_asked = {"rt-ann": asyncio.Event(), "CreateMe": asyncio.Event()}
        self.ran_as: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """The answer."""
        name = asked(request)
        if name == "GetAccessToken":
            token = json.loads(request.content)["variables"]["token"]
            await self._hold(token)
            return data(getAccessToken=of(token.removeprefix("rt-")))
        if name == "CreateMe":
            await self._hold(name)
            return data(createMe="rt-bob")
        self.ran_as.append(told(request)["sub"])
        return data(me={"id": told(request)["sub"]})

    async def _hold(self, name: str) -> None:
        if name in self.may_answer:
            self.is_asked[name].set()
            await self.may_answer[name].wait()

    def client(self, store: MemoryTokens) -> AsyncClient:
        """Of a program in which somebody is logged in."""
        return AsyncClient(
            "https://id.example.com", transport=httpx.MockTransport(self), tokens=store, clock=lambda: 0.0
        )


@pytest.mark.attack("A104")
@pytest.mark.parametrize("is_bob_first", [False, True])
async def test_two_users_without_access_tokens_share_no_refresh(is_bob_first: bool) -> None:
    server = Slow()
    async with server.client(MemoryTokens(Tokens(None, "rt-ann", "standing"))) as client:

        async def as_bob() -> dict[str, Any]:
            await client.create_me()
            return await client.me(["id"])

        ann = asyncio.create_task(client.execute("mutation Pay { pay }"))
        await server.is_asked["rt-ann"].wait()
        bob = asyncio.create_task(as_bob())
        await server.is_asked["CreateMe"].wait()
        if not is_bob_first:
            server.may_answer["rt-ann"].set()
            assert await ann == {"me": {"id": "ann"}}
        server.may_answer["CreateMe"].set()
        assert await bob == {"id": "bob"}
        server.may_answer["rt-ann"].set()
        if is_bob_first:
            with pytest.raises(Unauthenticated, match="somebody else"):
                await ann
        assert client.tokens is not None
        assert client.tokens.refresh_token == "rt-bob"
    assert server.ran_as == (["bob"] if is_bob_first else ["ann", "bob"])


BOB = [Tokens(of("bob"), "rt-bob"), Tokens(None, "rt-bob", "standing"), Tokens("opaque-2", "rt-bob")]
ANN = [Tokens(of("ann", exp=1), "rt-ann"), Tokens(None, "rt-ann", "standing"), Tokens("opaque-1", "rt-ann")]


@pytest.mark.attack("A104")
@pytest.mark.parametrize("bob", BOB)
@pytest.mark.parametrize("ann", ANN)
async def test_what_one_user_began_is_not_done_as_the_next(ann: Tokens, bob: Tokens) -> None:
    server, store = Slow(), MemoryTokens(bob)
    async with server.client(store) as client:
        with pytest.raises(Unauthenticated, match="somebody else"):
            await client._refresh(Refresh(ann.auth_token, ann.refresh_token))
    assert store.load() == bob
    assert server.ran_as == []


class Leaving:
    """Refuses a logout by the first session's token when it may, and notes which sessions it ended."""

    def __init__(self) -> None:
        self.is_asked, self.may_refuse = asyncio.Event(), asyncio.Event()
        self.ended: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """The answer."""
        if asked(request) == "LogIn":
            return data(login={"data": {"auth_token": of("ann", sid="s2"), "refresh_token": "r2"}})
        sid = told(request)["sid"]
        if sid == "s1":
            self.is_asked.set()
            await self.may_refuse.wait()
            return refusal()
        self.ended.append(sid)
        return data(logout={"data": {"success": True}})


def in_this_process(client: AsyncClient, store: MemoryTokens) -> Coroutine[Any, Any, Any]:
    return client.login("ann@example.com", "rainbow123")


async def in_another_process(client: AsyncClient, store: MemoryTokens) -> None:
    store.save(Tokens(of("ann", sid="s2"), "r2"))


@pytest.mark.parametrize("log_in", [in_this_process, in_another_process])
async def test_a_logout_ends_no_later_session_of_the_same_user(log_in: Callable[..., Any]) -> None:
    server, store = Leaving(), MemoryTokens(Tokens(of("ann", sid="s1"), "r1"))
    options: dict[str, Any] = {"transport": httpx.MockTransport(server), "tokens": store, "clock": lambda: 0.0}
    async with AsyncClient("https://id.example.com", **options) as client:
        leaving = asyncio.create_task(client.logout())
        await server.is_asked.wait()
        await log_in(client, store)
        server.may_refuse.set()
        await leaving
        assert server.ended == []
        assert client.tokens is not None
        assert client.tokens.refresh_token == "r2"
        await client.logout()
        assert server.ended == ["s2"]
        assert client.tokens is None


async def test_a_session_that_was_lost_is_left_without_asking() -> None:
    server, store = Slow(), MemoryTokens(Tokens(None, None))
    async with server.client(store) as client:
        assert client.tokens is None
        for ask in (client.execute("{ up }"), client.refresh(), client.me(), client.get_access_token()):
            with pytest.raises(NotAuthenticated):
                await ask
        await client.logout()
        assert store.load() is None


@pytest.mark.attack("A104")
@pytest.mark.parametrize("kept", [Tokens("", ""), Tokens("", None), Tokens(None, "")])
def test_an_empty_token_in_a_store_is_none_and_no_leave_to_use_the_key(kept: Tokens) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return data(up=True)

    transport = httpx.MockTransport(answer)
    with Client("https://id.example.com", tokens=kept, api_key="the-key", transport=transport) as client:
        with pytest.raises(NotAuthenticated):
            client.execute("mutation { up }")
        assert client.tokens is None
    assert sent == []


@pytest.mark.attack("A104")
def test_threads_refused_at_once_send_one_refresh() -> None:
    together, all_want, sent = threading.Barrier(8), threading.Event(), Counter[str]()
    wanting: list[Step] = []

    def server(request: httpx.Request) -> httpx.Response:
        name = asked(request)
        sent[name] += 1
        if name == "Refresh":
            assert all_want.wait(30)
            return data(refreshToken={"data": {"auth_token": "auth-2", "refresh_token": "refresh-2"}})
        if request.headers["authorization"] == "Bearer auth-1":
            together.wait(30)
            return refusal()
        return data(me={"id": "ann"})

    class Counting(Client):
        def _take(self, step: Step) -> Any:
            if isinstance(step, Refresh):
                wanting.append(step)
                if len(wanting) == 8:
                    all_want.set()
            return super()._take(step)

    tokens = Tokens("auth-1", "refresh-1")
    with Counting("https://id.example.com", tokens=tokens, transport=httpx.MockTransport(server)) as client:
        with ThreadPoolExecutor(8) as pool:
            users = [future.result() for future in [pool.submit(client.me, ["id"]) for _ in range(8)]]
        assert users == [{"id": "ann"}] * 8
    assert sent == {"Me": 16, "Refresh": 1}
