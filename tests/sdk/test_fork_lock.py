"""The lock around a save, entered again by the thread that is inside: a store or a handler that calls the client."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import httpx

from keystead_client import Client, MemoryTokens, Tokens
from keystead_client.fork_lock import ForkLock
from tests.forking import needs_fork

FIRST = Tokens("auth-1", "refresh-1")
LOGIN = {"login": {"data": {"auth_token": "auth-1", "refresh_token": "refresh-1"}}}


class Calling(MemoryTokens):
    """Does something else as well when it has saved tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.also: Callable[[], object] = lambda: None

    def save(self, tokens: Tokens | None) -> None:
        """As always, and then that."""
        super().save(tokens)
        if tokens is not None:
            self.also()


def client_of(store: MemoryTokens) -> Client:
    answer = {"data": {**LOGIN, "me": {"id": "ann"}, "logout": True}}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    return Client("https://id.example.com", transport=transport, tokens=store)


def in_a_thread(work: Callable[[], object]) -> None:
    """Fails where it hangs."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def is_closed_to_others(lock: ForkLock) -> bool:
    taken: list[bool] = []

    def take() -> None:
        if lock._lock.acquire(blocking=False):
            taken.append(True)
            lock._lock.release()

    in_a_thread(take)
    return not taken


def test_it_keeps_others_out_until_the_last_leaves() -> None:
    lock = ForkLock()
    with lock:
        with lock:
            assert is_closed_to_others(lock)
        assert is_closed_to_others(lock)
    assert not is_closed_to_others(lock)


def test_a_store_may_call_the_client_that_saves() -> None:
    store = Calling()
    found: list[object] = []
    with client_of(store) as client:
        store.also = lambda: found.append(client.me(["id"]))
        in_a_thread(lambda: client.login("ann@example.com", "rainbow123"))
    assert found == [{"id": "ann"}]


def test_a_handler_that_logs_out_in_the_middle_of_a_save_ends() -> None:
    store = Calling()
    before = signal.getsignal(signal.SIGUSR1)
    with client_of(store) as client:
        store.also = lambda: signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda number, frame: client.logout())
        try:
            client.login("ann@example.com", "rainbow123")
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert client.tokens is None


def test_a_program_may_log_in_while_it_has_the_store_for_itself() -> None:
    store = MemoryTokens()

    def log_in() -> None:
        with store.exclusive(), client_of(store) as client:
            client.login("ann@example.com", "rainbow123")

    in_a_thread(log_in)
    assert store.load() == FIRST


def test_who_has_the_store_for_himself_and_who_saves_do_not_wait_for_each_other() -> None:
    """One thread is inside and calls; the client of another is about to save."""
    store = MemoryTokens(FIRST)
    with client_of(store) as client:
        kept = client._session._kept
        saving = threading.Thread(target=lambda: kept.begin(FIRST), daemon=True)
        enters = threading.Event()

        def alone() -> ForkLock:
            enters.set()
            return store._lock

        with store.exclusive():
            kept._alone = alone
            saving.start()
            assert enters.wait(10)
            assert not is_closed_to_others(kept._lock)
        saving.join(10)
        assert not saving.is_alive()


@needs_fork
def test_a_save_that_forks_goes_on_in_both_processes() -> None:
    store = Calling()
    parent, children = os.getpid(), [0]

    def fork() -> None:
        children[0] = os.fork()

    store.also = fork
    is_good = False
    try:
        with client_of(store) as client:
            client.login("ann@example.com", "rainbow123")
            store.also = lambda: None
            client.login("ann@example.com", "rainbow123")
            is_good = not is_closed_to_others(store._lock)
    finally:
        if os.getpid() != parent:
            os._exit(0 if is_good else 1)
    assert os.waitpid(children[0], 0)[1] == 0
    assert is_good
