"""Reading tokens, and the store in a file."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from keystead_client import FileTokens, Tokens, tokens
from keystead_client.tokens import TokenState
from tests.sdk.jwts import access_token, jwt

fcntl = pytest.importorskip("fcntl", reason="Windows has no file locks: FileTokens goes without")

FIRST = Tokens("auth-1", "refresh-1")
SECOND = Tokens("auth-2", "refresh-2", "pair", "refresh-1")

NONSENSE = ["", "a", "a.b", "a.b.c.d", "a.é.c", "..", jwt("7"), jwt("[" * 100_000), jwt('{"exp": "soon"}')]
NONSENSE += [jwt('{"exp": NaN}'), jwt('{"exp": 1' + "0" * 400 + "}"), jwt('{"exp": true}'), jwt('{"exp": Infinity}')]


@pytest.mark.parametrize("token", NONSENSE)
def test_malformed_tokens_have_no_expiry(token: str) -> None:
    assert Tokens(token, None).expires_at is None


@pytest.mark.parametrize(
    ("issued", "expires", "now", "expected"),
    [(0, 3600, 3539, True), (0, 3600, 3540, False), (0, 30, 14, True), (0, 30, 15, False), (None, 3600, 3541, False)],
)
def test_freshness(issued: int | None, expires: int, now: int, expected: bool) -> None:
    given = Tokens(access_token("s", exp=expires, iat=issued), None)
    assert given.is_fresh(now, 60) is expected
    assert (given.issued_at, given.expires_at) == (issued, expires)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the first tokens."""
    path = tmp_path / "tokens"
    FileTokens(path).save(FIRST)
    return path


def test_a_file_keeps_tokens_for_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path, store = tmp_path / "tokens", FileTokens("~/tokens")
    assert store.load() is None
    given = Tokens("a", "r", "standing", "p")
    store.save(given)
    assert FileTokens(path).load() == given
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.chdir(tmp_path)
    assert FileTokens("tokens").load() == given
    assert list(tmp_path.iterdir()) == [path]
    store.save(None)
    store.save(None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "{}", '{"kind": "other"}', "\udcff"])
def test_other_contents_count_as_no_tokens(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert FileTokens(path).load() is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_file_that_is_open_to_others_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(PermissionError, match="chmod 600"):
        FileTokens(path).load()
    FileTokens(path).save(SECOND)
    assert FileTokens(path).load() == SECOND


def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    os.chown(path, mine or 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(PermissionError):
        FileTokens(path).load()


def test_a_directory_that_cannot_keep_tokens_is_refused_at_the_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (path.parent / "missing", path):
        with pytest.raises(FileNotFoundError, match="there is no directory"):
            FileTokens(folder / "tokens")
    with pytest.raises(IsADirectoryError):
        FileTokens(path.parent)
    # Root can write to every directory.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        FileTokens(path)


def test_tokens_are_on_the_disk_before_the_file_is_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append("synced")
        fsync(descriptor)

    def replaced(*names: Any) -> None:
        done.append("replaced")
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    FileTokens(path).save(SECOND)
    assert done == ["synced", "replaced"]


class Watched(FileTokens):
    """Notes whether the file lock was held while saving."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lock = path.with_name(f"{path.name}.lock")
        self.was_locked: list[bool] = []

    def save(self, tokens: Tokens | None) -> None:
        with self.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.was_locked.append(True)
        super().save(tokens)


def test_tokens_are_replaced_under_the_file_lock(path: Path) -> None:
    store = Watched(path)
    state = TokenState(store)
    assert state.compare_and_swap(FIRST, SECOND)
    assert state.compare_and_swap(SECOND, FIRST, must_save=False)
    state.lose(FIRST)
    state.start(FIRST)
    state.clear(FIRST)
    assert store.was_locked == [True] * 5
    assert not path.exists()
    assert store.lock.stat().st_mode & 0o777 == 0o600


HOLDER = """
import sys
from keystead_client import FileTokens
with FileTokens(sys.argv[1]).exclusive():
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_waited_for_and_not_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    with Popen([sys.executable, "-c", HOLDER, path], stdin=PIPE, stdout=PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "inside\n"
        with monkeypatch.context() as patched:
            patched.setattr(time, "sleep", pauses.append)
            assert TokenState(FileTokens(path)).compare_and_swap(FIRST, SECOND)
        assert sum(pauses) == pytest.approx(1)
        waiting = threading.Thread(target=lambda: TokenState(FileTokens(path)).start(FIRST))
        waiting.start()
        holder.stdin.close()
        waiting.join(30)
    assert FileTokens(path).load() == FIRST


def test_a_system_without_locks_goes_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lock(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    before = len(os.listdir("/dev/fd"))
    monkeypatch.setattr(fcntl, "flock", no_lock)
    assert TokenState(FileTokens(path)).compare_and_swap(FIRST, SECOND)
    monkeypatch.setattr(tokens, "fcntl", None)
    assert TokenState(FileTokens(path)).compare_and_swap(SECOND, FIRST)
    assert len(os.listdir("/dev/fd")) == before
