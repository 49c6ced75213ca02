"""A command line on an empty database of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from keystead.settings import Settings
from tests.cli.command import MASTER_KEY, Cli


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, no settings, and the test process keeps its own logging."""

    def configure(_settings: Settings) -> None:
        return None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("keystead.web.logs.configure", configure)
    for name in ("KEYSTEAD_DATABASE_URL", "KEYSTEAD_CONFIG", "KEYSTEAD_MASTER_KEY", "KEYSTEAD_MASTER_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Cli:
    """On both databases."""
    return Cli(tmp_path, {"KEYSTEAD_DATABASE_URL": database_url, "KEYSTEAD_MASTER_KEY": MASTER_KEY})


@pytest.fixture
def sqlite_cli(tmp_path: Path) -> Cli:
    """On a SQLite file that does not exist yet, with no setting at all."""
    return Cli(tmp_path, {})
