"""The session of a client: its tokens, a store that fails or is shared, and whose tokens a request goes with."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from keystead_client import AsyncClient, Client, MemoryTokens, NotAuthenticated, Tokens
from keystead_client.errors import NetworkError, RefreshTokenReused, Unauthenticated
from keystead_client.tokens import TokenState
from tests.sdk.jwts import access_token

URL = "https://id.example.com"
PAIR = {"auth_token": "auth-2", "refresh_token": "refresh-2"}
FIRST = Tokens("auth-1", "refresh-1")
SECOND = Tokens("auth-2", "refresh-2", "pair", "refresh-1")
THIRD = Tokens("auth-3", "refresh-3", "pair", "refresh-2")


def data(**members: Any) -> httpx.Response:
    return httpx.Response(200, json={"data": members})


def refusal(code: str = "UNAUTHENTICATED") -> httpx.Response:
    return httpx.Response(401, json={"errors": [{"message": "no", "extensions": {"code": code}}]})


def operation(request: httpx.Request) -> str:
    document: str = json.loads(request.content)["query"]
    return document.split()[1].partition("(")[0]


def session_of(request: httpx.Request) -> str:
    """The session whose access token a request shows."""
    part = request.headers["authorization"].split(".")[1]
    sid: str = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["sid"]
    return sid


# --------------------------------------------------------------------------------------------------- a store that fails


class Full(MemoryTokens):
    """A disk that is full at times."""

    is_full = True

    def save(self, tokens: Tokens | None) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().save(tokens)


class Server:
    """Rejects the first token, refreshes it unless the session is over, and notes what it was sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_over = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        document = json.loads(request.content)["query"]
        self.sent.append("refresh" if "refreshToken" in document else request.headers.get("authorization", "none"))
        if self.sent[-1] == "Bearer auth-1":
            return refusal()
        if self.sent[-1] == "refresh" and self.is_over:
            return refusal("REFRESH_TOKEN_REUSED")
        return data(refreshToken={"data": PAIR}, login={"data": PAIR}, ran=True)

    def client(self, store: MemoryTokens) -> Client:
        return Client(URL, transport=httpx.MockTransport(self), tokens=store, api_key="the-key")


def test_a_store_that_fails_takes_no_answer_away() -> None:
    server = Server()
    with server.client(Full(SECOND)) as client:
        assert client.execute("mutation { ran }")["ran"]
    assert server.sent == ["Bearer auth-2"]


def test_refreshed_tokens_that_cannot_be_saved_are_kept_in_memory_until_they_can() -> None:
    server, store = Server(), Full(FIRST)
    with server.client(store) as client:
        client.execute("mutation { ran }")
        client.execute("mutation { ran }")
        assert server.sent == ["Bearer auth-1", "refresh", "Bearer auth-2", "Bearer auth-2"]
        assert (store.load(), client.tokens) == (FIRST, SECOND)
        store.is_full = False
        client.execute("mutation { ran }")
        assert store.load() == Tokens("auth-2", "refresh-2")


def test_what_another_process_saved_comes_before_what_could_not_be_saved() -> None:
    store = Full(FIRST)
    state = TokenState(store)
    assert state.compare_and_swap(FIRST, SECOND, must_save=False)
    assert state.compare_and_swap(SECOND, THIRD, must_save=False)
    assert state.load() == THIRD
    other = Tokens("auth-4", "refresh-4")
    MemoryTokens.save(store, other)
    assert state.load() == other
    assert not state.compare_and_swap(THIRD, SECOND, must_save=False)


def test_a_session_is_lost_and_a_login_fails_where_that_cannot_be_saved() -> None:
    server, store = Server(), Full(FIRST)
    server.is_over = True
    with server.client(store) as client:
        for error in (RefreshTokenReused, Unauthenticated):
            with pytest.raises(error):
                client.execute("mutation { ran }")
        assert server.sent == ["Bearer auth-1", "refresh"]
        assert client.tokens is None
        for act in (client.logout, lambda: client.login("ann@example.com", "rainbow123")):
            with pytest.raises(OSError, match="No space"):
                act()
        store.is_full = False
        client.logout()
        assert store.load() is None


# ----------------------------------------------------------------------------------------------- a store that is shared


def test_the_tokens_of_another_session_are_neither_lost_nor_replaced() -> None:
    store = MemoryTokens(SECOND)
    state = TokenState(store)
    state.lose(FIRST)
    assert not state.compare_and_swap(FIRST, THIRD)
    assert state.load() == SECOND
    state.lose(SECOND)
    assert state.load() is None


def test_what_was_saved_while_the_lock_was_waited_for_is_not_overwritten() -> None:
    class Overtaken(MemoryTokens):
        @contextmanager
        def exclusive(self) -> Iterator[None]:
            self.save(THIRD)
            yield

    store = Overtaken(FIRST)
    assert not TokenState(store).compare_and_swap(FIRST, SECOND)
    assert store.load() == THIRD


@pytest.mark.parametrize("meanwhile", [THIRD, Tokens("auth-9", "refresh-2", "pair", "refresh-1")])
def test_the_previous_token_is_kept_until_the_new_one_has_worked(meanwhile: Tokens) -> None:
    """An answer to older tokens, or one that arrives when another process is further, says nothing about the new."""
    store = MemoryTokens(SECOND)

    def answer(request: httpx.Request) -> httpx.Response:
        store.save(meanwhile)
        return data(ran=True)

    with Client(URL, transport=httpx.MockTransport(answer), tokens=store) as client:
        client.execute("{ ran }")
    assert store.load() == meanwhile


OLD = Tokens(access_token("s1", n=1), "refresh-1")
NEW = {"auth_token": access_token("s1", n=2), "refresh_token": "refresh-2"}


def refreshed(meanwhile: Tokens) -> tuple[Tokens, Tokens | None]:
    """The result of a refresh, and what is saved, when another process saves ``meanwhile``."""
    store = MemoryTokens(OLD)

    def answer(request: httpx.Request) -> httpx.Response:
        store.save(meanwhile)
        return data(refreshToken={"data": NEW})

    with Client(URL, transport=httpx.MockTransport(answer), tokens=store, clock=lambda: 0.0) as client:
        return client.refresh(), store.load()


def test_processes_that_refresh_the_same_session_agree() -> None:
    given, saved = refreshed(Tokens(access_token("s1", n=3), "refresh-2"))
    assert given.auth_token == NEW["auth_token"]
    assert saved == given
    further = Tokens(access_token("s1", n=4), "refresh-3")
    assert refreshed(further) == (further, further)


def test_a_refresh_of_a_session_that_was_replaced_is_rejected() -> None:
    with pytest.raises(Unauthenticated, match="another session"):
        refreshed(Tokens(access_token("s2"), "refresh-9"))


# -------------------------------------------------------------------------------------------------- whose session it is


class Slow:
    """Opens anonymous sessions and issues access tokens when it may; executes the rest with the token it is shown."""

    def __init__(self) -> None:
        self.may_answer = {"rt-ann": asyncio.Event(), "CreateMe": asyncio.Event()}
        self.is_asked = {"rt-ann": asyncio.Event(), "CreateMe": asyncio.Event()}
        self.ran_in: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        name = operation(request)
        if name == "GetAccessToken":
            token = json.loads(request.content)["variables"]["token"]
            await self._hold(token)
            return data(getAccessToken=access_token(token.removeprefix("rt-")))
        if name == "CreateMe":
            await self._hold(name)
            return data(createMe="rt-bob")
        self.ran_in.append(session_of(request))
        return data(me={"id": session_of(request)})

    async def _hold(self, name: str) -> None:
        if name in self.may_answer:
            self.is_asked[name].set()
            await self.may_answer[name].wait()

    def client(self, store: MemoryTokens) -> AsyncClient:
        return AsyncClient(URL, transport=httpx.MockTransport(self), tokens=store, clock=lambda: 0.0)


@pytest.mark.attack("A104")
@pytest.mark.parametrize("is_bob_first", [False, True])
async def test_two_users_share_no_refresh(is_bob_first: bool) -> None:
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
            with pytest.raises(Unauthenticated, match="another session"):
                await ann
        assert client.tokens is not None
        assert client.tokens.refresh_token == "rt-bob"
    assert server.ran_in == (["bob"] if is_bob_first else ["ann", "bob"])


BOB = [Tokens(access_token("bob"), "rt-bob"), Tokens(None, "rt-bob", "standing"), Tokens("opaque-2", "rt-bob")]
ANN = [Tokens(access_token("ann", exp=1), "rt-ann"), Tokens(None, "rt-ann", "standing"), Tokens("opaque-1", "rt-ann")]


@pytest.mark.attack("A104")
@pytest.mark.parametrize("bob", BOB)
@pytest.mark.parametrize("ann", ANN)
async def test_a_request_of_one_user_is_not_retried_as_the_next(ann: Tokens, bob: Tokens) -> None:
    server, store = Slow(), MemoryTokens(bob)
    async with server.client(store) as client:
        with pytest.raises(Unauthenticated, match="another session"):
            await client._refresh(ann)
    assert store.load() == bob
    assert server.ran_in == []


@pytest.mark.attack("A104")
@pytest.mark.parametrize("kept", [Tokens("", ""), Tokens("", None), Tokens(None, "")])
def test_an_empty_token_in_a_store_does_not_let_the_key_act(kept: Tokens) -> None:
    server = Server()
    with server.client(MemoryTokens(kept)) as client:
        with pytest.raises(NotAuthenticated):
            client.execute("mutation { up }")
        assert client.tokens is None
    assert server.sent == []


async def test_a_lost_session_is_left_without_a_request() -> None:
    server, store = Slow(), MemoryTokens(Tokens(None, None))
    async with server.client(store) as client:
        for call in (client.execute("{ up }"), client.refresh(), client.me(), client.get_access_token()):
            with pytest.raises(NotAuthenticated):
                await call
        await client.logout()
        assert store.load() is None


def test_the_key_does_not_act_where_another_process_has_logged_out() -> None:
    server, store = Server(), MemoryTokens(SECOND)
    with server.client(store) as client:
        client.execute("{ ran }")
        store.save(None)
        with pytest.raises(NotAuthenticated):
            client.execute("{ ran }")
        assert server.sent == ["Bearer auth-2"]
        client.login("ann@example.com", "rainbow123")
        client.logout()
        client.execute("{ ran }")
        assert server.sent[-1] == "none"


class Leaving:
    """Holds a logout of the first session up, then ends, rejects or breaks it; notes which sessions it ended."""

    def __init__(self, outcome: str) -> None:
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.outcome = outcome
        self.ended: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if operation(request) == "LogIn":
            return data(login={"data": {"auth_token": access_token("s2"), "refresh_token": "r2"}})
        if session_of(request) == "s1":
            self.is_asked.set()
            await self.may_answer.wait()
            if self.outcome == "rejected":
                return refusal()
            if self.outcome == "broken":
                raise httpx.ReadError("cut")
        self.ended.append(session_of(request))
        return data(logout={"data": {"success": True}}, invalidateRefreshToken=True)


@pytest.mark.parametrize("outcome", ["ended", "rejected", "broken"])
@pytest.mark.parametrize("is_here", [True, False])
@pytest.mark.parametrize("everywhere", [True, False])
async def test_a_login_during_a_logout_stays(outcome: str, is_here: bool, everywhere: bool) -> None:
    server, store = Leaving(outcome), MemoryTokens(Tokens(access_token("s1"), "r1"))
    options: dict[str, Any] = {"tokens": store, "retries": 0, "clock": lambda: 0.0}
    async with AsyncClient(URL, transport=httpx.MockTransport(server), **options) as client:
        leaving = asyncio.create_task(client.logout_everywhere() if everywhere else client.logout())
        await server.is_asked.wait()
        if is_here:
            await client.login("ann@example.com", "rainbow123")
        else:
            store.save(Tokens(access_token("s2"), "r2"))
        server.may_answer.set()
        (raised,) = await asyncio.gather(leaving, return_exceptions=True)
        assert isinstance(raised, NetworkError) is (outcome == "broken")
        assert server.ended == (["s1"] if outcome == "ended" else [])
        assert client.tokens is not None
        assert client.tokens.refresh_token == "r2"
        await client.logout()
        assert server.ended[-1] == "s2"
        assert client.tokens is None


async def test_a_cancelled_logout_ends_no_later_session() -> None:
    server = Leaving("ended")
    tokens = Tokens(access_token("s1"), "r1")
    async with AsyncClient(URL, transport=httpx.MockTransport(server), tokens=tokens, clock=lambda: 0.0) as client:
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


@pytest.mark.attack("A104")
def test_threads_rejected_at_the_same_time_send_one_refresh() -> None:
    together, all_want, sent = threading.Barrier(8), threading.Event(), Counter[str]()
    wanting: list[Tokens] = []

    def server(request: httpx.Request) -> httpx.Response:
        name = operation(request)
        sent[name] += 1
        if name == "Refresh":
            assert all_want.wait(30)
            return data(refreshToken={"data": PAIR})
        if request.headers["authorization"] == "Bearer auth-1":
            together.wait(30)
            return refusal()
        return data(me={"id": "ann"})

    class Counting(Client):
        async def _refresh(self, due: Tokens) -> Tokens:
            wanting.append(due)
            if len(wanting) == 8:
                all_want.set()
            return await super()._refresh(due)

    with Counting(URL, tokens=FIRST, transport=httpx.MockTransport(server)) as client, ThreadPoolExecutor(8) as pool:
        users = [future.result() for future in [pool.submit(client.me, ["id"]) for _ in range(8)]]
    assert users == [{"id": "ann"}] * 8
    assert sent == {"Me": 16, "Refresh": 1}
