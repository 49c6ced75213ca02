"""A file that cannot keep tokens is refused before a login, not after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keystead_client import FileTokens, Tokens


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        FileTokens(tmp_path / "missing" / "tokens")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        FileTokens(tmp_path / "file" / "tokens")


def test_a_directory_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="kept in a file"):
        FileTokens(tmp_path)


def test_a_directory_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # For root every directory can.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        FileTokens(tmp_path / "tokens")


def test_the_home_directory_has_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    FileTokens("~/tokens").save(Tokens("a", "r"))
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_a_name_alone_is_in_the_directory_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FileTokens("tokens").save(Tokens("a", "r"))
    assert FileTokens(tmp_path / "tokens").load() == Tokens("a", "r")
