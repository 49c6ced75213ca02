"""A file of tokens that several processes share, that something else has taken, or that a process left half done."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keystead_client import FileTokens, MemoryTokens, Tokens
from keystead_client._session import Kept

fcntl = pytest.importorskip("fcntl", reason="Windows has no fcntl: FileTokens goes without the lock there")

FIRST = Tokens("auth-1", "refresh-1")
SECOND = Tokens("auth-2", "refresh-2", "pair", "refresh-1")
THIRD = Tokens("auth-3", "refresh-3", "pair", "refresh-2")


def is_locked(path: Path) -> bool:
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Watched(FileTokens):
    """Notes whether the file was locked while it was saved."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self.was_locked: list[bool] = []

    def save(self, tokens: Tokens | None) -> None:
        """As always."""
        self.was_locked.append(is_locked(self.path))
        super().save(tokens)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the first tokens."""
    path = tmp_path / "tokens"
    FileTokens(path).save(FIRST)
    return path


def test_tokens_are_replaced_behind_a_lock(path: Path) -> None:
    store = Watched(path)
    kept = Kept(store)
    assert kept.swap(FIRST, SECOND)
    assert kept.swap_in_any_case(SECOND, THIRD)
    kept.forget(THIRD, type(kept.ended()))
    kept.begin(FIRST)
    assert not is_locked(path)
    kept.leave(kept.begun, FIRST)
    assert store.was_locked == [True] * 5
    assert not path.exists()


def test_who_waited_for_the_lock_sees_what_was_saved_meanwhile() -> None:
    class Overtaken(MemoryTokens):
        """Another process has the lock first."""

        @contextmanager
        def exclusive(self) -> Iterator[None]:
            self.save(THIRD)
            yield

    store = Overtaken(FIRST)
    assert not Kept(store).swap(FIRST, SECOND)
    assert store.load() == THIRD


def test_the_lock_is_that_of_the_file_that_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileTokens(path)
    locked: list[int] = []
    flock = fcntl.flock

    def overtaken(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and not locked:
            FileTokens(path).save(SECOND)
        if operation & fcntl.LOCK_EX:
            locked.append(os.fstat(descriptor).st_ino)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    with store.exclusive():
        assert len(locked) == 2
        assert locked[1] == path.stat().st_ino


def test_a_process_that_was_forked_meanwhile_does_not_keep_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited: list[int] = []
    flock = fcntl.flock

    def forked(descriptor: int, operation: int) -> None:
        if not inherited:
            inherited.append(os.dup(descriptor))
        flock(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", forked)
        with FileTokens(path).exclusive():
            pass
    try:
        assert not is_locked(path)
    finally:
        os.close(inherited[0])


def test_the_lock_of_a_file_that_is_open_to_others_is_not_waited_for(path: Path) -> None:
    path.chmod(0o666)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with FileTokens(path).exclusive():
            pass


def test_a_system_without_locks_does_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lock(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    before = sorted(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else []
    monkeypatch.setattr(fcntl, "flock", no_lock)
    assert Kept(FileTokens(path)).swap(FIRST, SECOND)
    assert (sorted(os.listdir("/proc/self/fd")) if before else []) == before


def test_what_is_no_file_holds_nothing_and_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    os.mkfifo(path, 0o600)
    kept = Kept(FileTokens(path))
    assert kept.load() is None
    kept.begin(FIRST)
    assert stat.S_ISREG(path.stat().st_mode)
    assert kept.load() == FIRST


def test_what_a_killed_process_left_is_removed(path: Path) -> None:
    old, young, other = (path.with_name(name) for name in ("tokens.abcd.new", "tokens.efgh.new", "tokens2.abcd.new"))
    for left in (old, young, other):
        left.touch()
    for left in (old, other):
        os.utime(left, (0, 0))
    FileTokens(path).save(SECOND)
    assert sorted(path.parent.iterdir()) == sorted([path, young, other])


def test_tokens_are_on_the_disk_before_the_old_ones_are_gone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def replaced(*names: Any) -> None:
        done.append("rename")
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    FileTokens(path).save(SECOND)
    assert done == ["file", "rename", "folder"]
