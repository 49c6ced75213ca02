"""The lock of a file of tokens: held by a process that does not go on, or by the thread itself."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import httpx
import pytest

from keystead_client import Client, FileTokens, Tokens
from keystead_client.tokens import FileLock
from tests.forking import needs_fork

fcntl = pytest.importorskip("fcntl", reason="Windows has no fcntl: FileTokens goes without the lock there")

FIRST = Tokens("auth-1", "refresh-1")
SECOND = Tokens("auth-2", "refresh-2")
HOLDER = """
import sys
from keystead_client import FileTokens
with FileTokens(sys.argv[1]).exclusive():
    print("inside", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the first tokens."""
    path = tmp_path / "tokens"
    FileTokens(path).save(FIRST)
    return path


def is_locked(path: Path) -> bool:
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def client_of(store: FileTokens) -> Client:
    login = {"data": {"auth_token": "auth-2", "refresh_token": "refresh-2"}}
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": {"login": login}}))
    return Client("https://id.example.com", transport=answer, tokens=store)


def test_a_process_that_was_stopped_while_it_held_the_lock_holds_nobody_up(path: Path) -> None:
    pauses: list[float] = []
    store = FileTokens(path)
    store._lock = FileLock(path, pauses.append)
    with Popen([sys.executable, "-c", HOLDER, path], stdin=PIPE, stdout=PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "inside\n"
            os.kill(holder.pid, signal.SIGSTOP)
            with client_of(store) as client:
                client.login("ann@example.com", "rainbow123")
        finally:
            holder.kill()
    assert FileTokens(path).load() == SECOND
    assert max(pauses) < 0.1
    assert sum(pauses) == pytest.approx(1)


def test_who_lets_go_meanwhile_is_waited_for(path: Path) -> None:
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                fcntl.flock(other, fcntl.LOCK_UN)

        lock = FileLock(path, pause)
        with lock.held():
            assert len(pauses) == 3
            assert is_locked(path)
    assert not is_locked(path)


def test_nothing_stays_open_where_the_lock_was_not_had(path: Path) -> None:
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        free = os.dup(other.fileno())
        os.close(free)
        with FileLock(path, lambda _: None).held():
            pass
        again = os.dup(other.fileno())
        os.close(again)
    assert again == free


def test_the_thread_that_is_inside_enters_again_without_waiting(path: Path) -> None:
    pauses: list[float] = []
    store = FileTokens(path)
    store._lock = FileLock(path, pauses.append)
    with store.exclusive():
        with store.exclusive():
            assert is_locked(path)
        assert is_locked(path)
        with client_of(store) as client:
            client.login("ann@example.com", "rainbow123")
        with store.exclusive():
            # Of the file that the login has put in the place of the first.
            assert is_locked(path)
    assert not is_locked(path)
    assert pauses == []
    assert store.load() == SECOND


@needs_fork
def test_a_process_that_was_forked_inside_does_not_open_the_lock_of_its_parent(path: Path) -> None:
    parent = os.getpid()
    status = None
    try:
        with FileLock(path).held():
            child = os.fork()
            if child:
                _, status = os.waitpid(child, 0)
                assert is_locked(path)
    finally:
        if os.getpid() != parent:
            os._exit(0)
    assert status == 0
    assert not is_locked(path)
