"""The tokens of a session, and a store that fails, is shared, or is forked."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import Any

import httpx
import pytest

from keystead_client import Client, MemoryTokens, NotAuthenticated, Tokens
from keystead_client._session import Kept
from keystead_client.errors import RefreshTokenReused
from tests.forking import needs_fork

PAIR = {"auth_token": "auth-2", "refresh_token": "refresh-2"}
FIRST = Tokens("auth-1", "refresh-1")
SECOND = Tokens("auth-2", "refresh-2", "pair", "refresh-1")


class Full(MemoryTokens):
    """A disk on which there is no room at times."""

    is_full = True

    def save(self, tokens: Tokens | None) -> None:
        """Fails where it is full."""
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().save(tokens)


class Server:
    """Refuses the first token, refreshes it, or not, and counts."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_over = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The answer."""
        document = json.loads(request.content)["query"]
        self.sent.append("refresh" if "refreshToken" in document else request.headers.get("authorization", "nobody"))
        if self.sent[-1] == "Bearer auth-1":
            return httpx.Response(401, json={"errors": [{"message": "", "extensions": {"code": "UNAUTHENTICATED"}}]})
        if self.sent[-1] == "refresh" and self.is_over:
            return httpx.Response(
                401, json={"errors": [{"message": "", "extensions": {"code": "REFRESH_TOKEN_REUSED"}}]}
            )
        return httpx.Response(
            200, json={"data": {"refreshToken": {"data": PAIR}, "login": {"data": PAIR}, "ran": True}}
        )


def client_of(server: Server, store: MemoryTokens) -> Client:
    return Client("https://id.example.com", transport=httpx.MockTransport(server), tokens=store, api_key="the-key")


def is_free(lock: Any) -> bool:
    """For another thread."""
    found: list[bool] = []
    other = threading.Thread(target=lambda: found.append(lock.acquire(blocking=False)))
    other.start()
    other.join()
    return found == [True]


def test_a_store_that_fails_takes_no_answer_away() -> None:
    server, store = Server(), Full(SECOND)
    with client_of(server, store) as client:
        assert client.execute("mutation { ran }")["ran"]
    assert server.sent == ["Bearer auth-2"]


def test_new_tokens_are_used_though_they_could_not_be_saved_and_saved_when_they_can() -> None:
    server, store = Server(), Full(FIRST)
    with client_of(server, store) as client:
        client.execute("mutation { ran }")
        client.execute("mutation { ran }")
        assert server.sent == ["Bearer auth-1", "refresh", "Bearer auth-2", "Bearer auth-2"]
        assert store.load() == FIRST
        assert client.tokens == SECOND
        store.is_full = False
        client.execute("mutation { ran }")
        assert store.load() == Tokens("auth-2", "refresh-2")


def test_what_another_process_saved_comes_before_what_could_not_be_saved() -> None:
    store = Full(FIRST)
    kept = Kept(store)
    assert kept.swap_in_any_case(FIRST, SECOND)
    third, fourth = Tokens("auth-3", "refresh-3"), Tokens("auth-4", "refresh-4")
    assert kept.swap_in_any_case(SECOND, third)
    assert kept.load() == third
    MemoryTokens.save(store, fourth)
    assert kept.load() == fourth
    assert not kept.swap_in_any_case(third, SECOND)


def test_a_handler_that_interrupts_the_save_of_a_refresh_has_the_new_tokens() -> None:
    class Interrupted(MemoryTokens):
        """A handler runs before the first tokens are written."""

        def save(self, tokens: Tokens | None) -> None:
            if "logout" not in server.sent:
                server.sent.append("logout")
                client.logout()
                left.append(self.load())
            super().save(tokens)

    server, left = Server(), list[Tokens | None]()
    with client_of(server, Interrupted(FIRST)) as client:
        client.execute("mutation { ran }")
    assert left == [None]
    assert server.sent[:4] == ["Bearer auth-1", "refresh", "logout", "Bearer auth-2"]
    assert "refresh" not in server.sent[2:]


def test_what_could_not_be_saved_twice_stands_for_what_the_store_holds_by_now() -> None:
    store = Full(FIRST)
    kept = Kept(store)
    third, fourth = Tokens("auth-3", "refresh-3"), Tokens("auth-4", "refresh-4")
    assert kept.swap_in_any_case(FIRST, SECOND)
    MemoryTokens.save(store, third)
    assert kept.swap_in_any_case(third, fourth)
    assert kept.load() == fourth


def test_a_lost_session_is_lost_though_that_could_not_be_saved() -> None:
    server, store = Server(), Full(FIRST)
    server.is_over = True
    with client_of(server, store) as client:
        for _ in range(2):
            with pytest.raises(RefreshTokenReused):
                client.execute("mutation { ran }")
        assert server.sent == ["Bearer auth-1", "refresh"]
        assert client.tokens is None
        with pytest.raises(OSError, match="No space"):
            client.login("ann@example.com", "rainbow123")
        with pytest.raises(OSError, match="No space"):
            client.logout()
        store.is_full = False
        client.logout()
        assert store.load() is None


def test_a_login_that_could_not_be_saved_changes_nothing() -> None:
    kept = Kept(Full(FIRST))
    with pytest.raises(OSError, match="No space"):
        kept.begin(SECOND)
    assert kept.look() == (0, FIRST)


def test_a_later_login_is_not_forgotten_with_the_session_before() -> None:
    kept = Kept(MemoryTokens(SECOND))
    kept.forget(FIRST, NotAuthenticated)
    assert kept.load() == SECOND
    kept.forget(SECOND, NotAuthenticated)
    assert kept.load() is None


def test_tokens_that_somebody_has_replaced_are_not_swapped() -> None:
    store = MemoryTokens(SECOND)
    assert not Kept(store).swap(FIRST, Tokens("a", "b"))
    assert store.load() == SECOND


@pytest.mark.parametrize("meanwhile", [Tokens("auth-3", "refresh-3", "pair", "refresh-2"), None])
def test_the_replaced_token_stays_until_the_new_one_has_worked(meanwhile: Tokens | None) -> None:
    """An answer to the token before, or one that comes when another process is further, says nothing of the new one."""
    store = MemoryTokens(SECOND)

    def answer(request: httpx.Request) -> httpx.Response:
        store.save(meanwhile or Tokens("auth-9", "refresh-2", "pair", "refresh-1"))
        return httpx.Response(200, json={"data": {"ran": True}})

    options: dict[str, Any] = {"transport": httpx.MockTransport(answer), "tokens": store}
    with Client("https://id.example.com", **options) as client:
        client.execute("{ ran }")
    kept = store.load()
    assert kept is not None
    assert kept.previous_refresh_token is not None


def test_another_process_between_two_looks_is_not_overwritten() -> None:
    third = Tokens("auth-3", "refresh-3", "pair", "refresh-2")

    class Overtaken(MemoryTokens):
        """Another process saves right after the first look."""

        looks = 0

        def load(self) -> Tokens | None:
            found = super().load()
            self.looks += 1
            if self.looks == 2:
                super().save(third)
            return found

    server, store = Server(), Overtaken(SECOND)
    with client_of(server, store) as client:
        client.execute("{ ran }")
    assert MemoryTokens.load(store) == third


@needs_fork
def test_a_process_that_is_forked_while_a_thread_saves_goes_on() -> None:
    is_saving, may_end = threading.Event(), threading.Event()
    parent = os.getpid()

    class Slow(MemoryTokens):
        def save(self, tokens: Tokens | None) -> None:
            super().save(tokens)
            if os.getpid() == parent:
                is_saving.set()
                assert may_end.wait(30)

    kept = Kept(Slow())
    saving = threading.Thread(target=lambda: kept.begin(FIRST))
    saving.start()
    assert is_saving.wait(30)
    child = os.fork()
    if child == 0:
        # Ends the child if it hangs.
        signal.alarm(10)
        kept.begin(SECOND)
        os._exit(0 if kept.load() == SECOND else 1)
    _, status = os.waitpid(child, 0)
    may_end.set()
    saving.join()
    assert status == 0


def test_two_clients_share_a_store_in_memory() -> None:
    store = MemoryTokens(FIRST)
    locked: list[bool] = []

    class Watched(Kept):
        def _save(self, tokens: Tokens | None) -> None:
            locked.append(not is_free(store._lock._lock))
            super()._save(tokens)

    assert Watched(store).swap(FIRST, SECOND)
    assert locked == [True]
    assert not Kept(store).swap(FIRST, SECOND)
