"""``keystead doctor``: settings, files, keys and the database. The mail checks are in ``test_doctor_mail``."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from keystead.cli.checks import Status
from keystead.cli.doctor import examine
from keystead.clock import SystemClock
from keystead.db.interface import ConnectionLost, Database
from keystead.db.postgres import PostgresDatabase
from keystead.db.sqlite import SqliteDatabase
from keystead.settings import load_settings
from keystead.web.bootstrap import open_server
from tests.cli.command import MASTER_KEY, Cli
from tests.clocks import ManualClock


def findings(cli: Cli) -> dict[str, tuple[str, str]]:
    """Status and detail of each check. The exit code must be 1 if one has failed."""
    said = cli("doctor", "--json")
    found = json.loads(said.out)
    assert said.exit_code == any(entry["status"] == "failure" for entry in found)
    return {entry["check"]: (entry["status"], entry["detail"]) for entry in found}


def test_a_new_installation_is_ok(cli: Cli) -> None:
    cli.json("brand", "list")
    said = cli("doctor", "--json")
    assert said.exit_code == 0, said.out
    assert sorted(said.document[0]) == ["check", "detail", "status"]
    statuses = {entry["check"]: entry["status"] for entry in said.document}
    for check in ("settings", "database", "schema", "signing_keys", "clock", "master_key", "default_brand"):
        assert statuses[check] == "ok", check


def test_before_the_first_start_nothing_is_created(sqlite_cli: Cli) -> None:
    found = findings(sqlite_cli)
    assert (found["database"][0], found["master_key"][0]) == ("warning", "warning")
    assert list(sqlite_cli.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "check", "status", "detail"),
    [
        ({}, "throttling", "warning", "logins are not limited yet"),
        ({"KEYSTEAD_THROTTLING": "off"}, "throttling", "failure", "mails to an address are not limited"),
        ({"KEYSTEAD_INTROSPECTION": "sometimes"}, "settings", "failure", "KEYSTEAD_INTROSPECTION"),
        ({"KEYSTEAD_COLOUR": "blue"}, "settings", "warning", "KEYSTEAD_COLOUR"),
        ({"KEYSTEAD_MASTER_KEY": "another key, of the right length, though"}, "master_key", "failure", "another"),
        ({"KEYSTEAD_MASTER_KEY": "changeme" * 4}, "master_key", "failure", "Do not replace the key of an existing"),
        ({"KEYSTEAD_BASE_URL": "http://id.example.com"}, "base_url", "warning", "not https"),
        ({"KEYSTEAD_BASE_URL": "https://id.example.com"}, "base_url", "ok", "https://id.example.com"),
        ({"KEYSTEAD_BASE_URL": "http://id.example.com"}, "trusted_proxies", "warning", "server with the SDK, must be"),
        ({"KEYSTEAD_TRUSTED_PROXIES": "10.0.0.0/8"}, "trusted_proxies", "ok", "SDK must be among them"),
        ({"KEYSTEAD_DEFAULT_BRAND": "shop"}, "default_brand", "warning", "'shop' is unknown or disabled"),
    ],
)
def test_settings(sqlite_cli: Cli, settings: dict[str, str], check: str, status: str, detail: str) -> None:
    sqlite_cli.settings["KEYSTEAD_MASTER_KEY"] = MASTER_KEY
    sqlite_cli.json("brand", "list")
    sqlite_cli.settings |= settings
    found = json.loads(sqlite_cli("doctor", "--json").out)
    assert any(row["check"] == check and row["status"] == status and detail in row["detail"] for row in found), found


def test_files_that_other_users_can_read_and_a_lost_master_key_are_failures(sqlite_cli: Cli) -> None:
    sqlite_cli.json("brand", "list")
    assert sqlite_cli("doctor").exit_code == 0
    for name in ("keystead.db", "keystead.db.master-key"):
        path = Path(name)
        path.chmod(0o644)
        said = sqlite_cli("doctor")
        assert said.exit_code == 1
        assert "chmod 600" in said.out
        path.chmod(0o600)
    Path("keystead.db.master-key").unlink()
    status, detail = findings(sqlite_cli)["master_key"]
    assert (status, "missing" in detail) == ("failure", True)
    assert not Path("keystead.db.master-key").exists()


def test_a_mounted_master_key_that_other_users_can_read_is_a_warning(sqlite_cli: Cli) -> None:
    path = sqlite_cli.folder / "mounted"
    path.write_text(MASTER_KEY, "utf-8")
    path.chmod(0o644)
    sqlite_cli.settings["KEYSTEAD_MASTER_KEY_FILE"] = str(path)
    modes = [entry for entry in sqlite_cli("doctor", "--json").document if entry["detail"].startswith(f"{path} ")]
    assert [entry["status"] for entry in modes] == ["warning"]


def test_a_database_that_is_down_is_a_failure(sqlite_cli: Cli) -> None:
    sqlite_cli.settings["KEYSTEAD_DATABASE_URL"] = "postgresql://me:secret@127.0.0.1:1/keystead"
    sqlite_cli.settings["KEYSTEAD_MASTER_KEY"] = MASTER_KEY
    found = findings(sqlite_cli)
    assert (found["database"][0], "127.0.0.1:1" in found["database"][1]) == ("failure", True)
    assert "secret" not in str(found)


def test_a_database_that_is_lost_during_the_checks_is_one_failure_with_its_cause(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler, which accepts connections while its database is down."""

    async def ping(_: Database) -> None:
        raise ConnectionLost(cause="the server login failed")

    for kind in (PostgresDatabase, SqliteDatabase):
        monkeypatch.setattr(kind, "ping", ping)
    found = {check: row for check, row in findings(cli).items() if check.startswith("database")}
    assert found == {"database": ("failure", "the server login failed")}


def test_brands(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.json("brand", "create", "shop")
    cli.settings["KEYSTEAD_DEFAULT_BRAND"] = "shop"
    cli.define("shop", "a", "b", "c")
    found = findings(cli)
    assert found["default_brand"] == ("ok", "shop")
    assert found["standing_sessions"][0] == "warning"
    assert "shop" in found["standing_sessions"][1]
    assert found.get("entity_tables", ("ok", "3")) == ("ok", "3"), "counted on SQLite only"
    monkeypatch.setattr("keystead.cli.database_checks.MAX_ENTITY_TABLES", 2)
    for brand in ("shop", "keystead"):
        cli.json("brand", "update", brand, "--policy", "standing_refresh_ttl=86400")
    cli.json("brand", "update", "shop", "--disabled")
    found = findings(cli)
    assert found["default_brand"][0] == "warning"
    assert found["standing_sessions"][0] == "ok"
    assert found.get("entity_tables", ("warning", ""))[0] == "warning"


@pytest.mark.parametrize(("age", "signing_keys"), [(0, Status.ok), (40, Status.warning)])
async def test_a_clock_that_is_off_and_a_late_rotation_are_warnings(
    database_url: str, age: int, signing_keys: Status
) -> None:
    """The age of a key is judged by the database's clock, whatever this machine's says."""
    settings = load_settings({"KEYSTEAD_DATABASE_URL": database_url, "KEYSTEAD_MASTER_KEY": MASTER_KEY})
    now = SystemClock().now()
    async with open_server(settings, clock=ManualClock(now - timedelta(days=age))):
        pass
    for ahead, status in ((timedelta(), Status.ok), (timedelta(days=40), Status.warning)):
        found = {finding.check: finding.status for finding in await examine(settings, ManualClock(now + ahead))}
        assert (found["clock"], found["signing_keys"]) == (status, signing_keys)
