"""The command line in this process, on an empty database."""

from __future__ import annotations

from pathlib import Path

import pytest

from keystead.settings import Settings
from tests import postgres_server
from tests.cli.command import MASTER_KEY, Cli


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory, no settings, and no change to the logging of the test process."""

    def configure(_settings: Settings) -> None:
        return None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("keystead.web.logs.configure", configure)
    for name in ("KEYSTEAD_DATABASE_URL", "KEYSTEAD_CONFIG", "KEYSTEAD_MASTER_KEY", "KEYSTEAD_MASTER_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PORT", "GRAPHIQL", "MAILBOX"):
        monkeypatch.setenv(f"_KEYSTEAD_{name}", "")  # set by serve: restored after the test


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Cli:
    """On each database."""
    return Cli(tmp_path, {"KEYSTEAD_DATABASE_URL": database_url, "KEYSTEAD_MASTER_KEY": MASTER_KEY})


@pytest.fixture
def shop(cli: Cli) -> Cli:
    """On each database, with the brand ``shop``."""
    cli.json("brand", "create", "shop")
    return cli


@pytest.fixture
def sqlite_cli(tmp_path: Path) -> Cli:
    """On a SQLite file that does not exist yet, without settings."""
    return Cli(tmp_path, {})


@pytest.fixture
def sqlite_shop(sqlite_cli: Cli) -> Cli:
    """The same, with the brand ``shop``."""
    sqlite_cli.json("brand", "create", "shop")
    return sqlite_cli


@pytest.fixture
def free_port() -> str:
    """A port that no process listens on."""
    return str(postgres_server.free_port())
