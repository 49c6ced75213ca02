"""``keystead doctor``: each check, in good health and in bad."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from keystead.cli.checks import Finding, Status
from keystead.cli.doctor import examine
from keystead.clock import SystemClock
from keystead.db.interface import ConnectionLost, Database
from keystead.db.postgres import PostgresDatabase
from keystead.db.sqlite import SqliteDatabase
from keystead.settings import load_settings
from tests.cli.command import MASTER_KEY, Cli
from tests.clocks import ManualClock


def findings(cli: Cli) -> dict[str, dict[str, str]]:
    said = cli("doctor", "--json")
    return {entry["check"]: entry for entry in json.loads(said.out)}


def test_a_new_installation_is_well(cli: Cli) -> None:
    cli.json("brand", "list")
    said = cli("doctor", "--json")
    assert said.exit_code == 0, said.out
    assert sorted(said.document[0]) == ["check", "detail", "status"]
    statuses = {entry["check"]: entry["status"] for entry in said.document}
    for check in ("settings", "database", "schema", "signing_keys", "clock", "master_key"):
        assert statuses[check] == "ok", check


def test_before_the_first_start_nothing_is_made(sqlite_cli: Cli) -> None:
    found = findings(sqlite_cli)
    assert found["database"]["status"] == "warning"
    assert found["master_key"]["status"] == "warning"
    assert list(sqlite_cli.folder.iterdir()) == []


def test_throttling_that_is_built_for_mails_alone_is_a_warning(cli: Cli) -> None:
    found = findings(cli)["throttling"]
    assert found["status"] == "warning"
    assert "logins are not limited yet" in found["detail"]


def test_throttling_off_is_a_failure(cli: Cli) -> None:
    cli.json("brand", "list")
    cli.settings["KEYSTEAD_THROTTLING"] = "off"
    assert cli("doctor").exit_code == 1
    found = findings(cli)["throttling"]
    assert (found["status"], "mails to an address are not limited" in found["detail"]) == ("failure", True)


def test_a_bad_setting_is_a_failure(cli: Cli) -> None:
    cli.settings["KEYSTEAD_INTROSPECTION"] = "sometimes"
    assert cli("doctor").exit_code == 1
    assert "KEYSTEAD_INTROSPECTION" in findings(cli)["settings"]["detail"]


def test_an_unknown_setting_is_a_warning(cli: Cli) -> None:
    cli.settings["KEYSTEAD_COLOUR"] = "blue"
    assert findings(cli)["settings"]["status"] == "warning"


def test_another_master_key_is_a_failure(cli: Cli) -> None:
    cli.json("brand", "list")
    cli.settings["KEYSTEAD_MASTER_KEY"] = "another key, of the right length, though"
    assert cli("doctor").exit_code == 1
    assert findings(cli)["master_key"]["status"] == "failure"


def test_a_master_key_that_is_easy_to_guess_is_a_failure(cli: Cli) -> None:
    cli.settings["KEYSTEAD_MASTER_KEY"] = "changeme" * 4
    found = findings(cli)["master_key"]
    assert found["status"] == "failure"
    assert "Do not replace the key of an existing database" in found["detail"]


def test_files_that_others_may_read_are_a_failure(sqlite_cli: Cli) -> None:
    sqlite_cli.json("brand", "list")
    assert sqlite_cli("doctor").exit_code == 0
    for name in ("keystead.db", "keystead.db.master-key"):
        path = Path(name)
        path.chmod(0o644)
        said = sqlite_cli("doctor")
        assert said.exit_code == 1
        assert "chmod 600" in said.out
        path.chmod(0o600)


def test_a_mounted_master_key_that_others_may_read_is_a_warning(cli: Cli) -> None:
    cli.json("brand", "list")
    path = cli.folder / "mounted"
    path.write_text(MASTER_KEY, "utf-8")
    path.chmod(0o644)
    cli.settings |= {"KEYSTEAD_MASTER_KEY": "", "KEYSTEAD_MASTER_KEY_FILE": str(path)}
    said = cli("doctor", "--json")
    modes = [entry for entry in said.document if entry["detail"].startswith(f"{path} ")]
    assert [entry["status"] for entry in modes] == ["warning"]


def test_a_public_address_without_https_or_proxies_is_a_warning(cli: Cli) -> None:
    cli.settings["KEYSTEAD_BASE_URL"] = "http://id.example.com"
    found = findings(cli)
    assert found["base_url"]["status"] == "warning"
    assert found["trusted_proxies"]["status"] == "warning"
    assert "an application server with the SDK, must be listed" in found["trusted_proxies"]["detail"]
    cli.settings |= {"KEYSTEAD_BASE_URL": "https://id.example.com", "KEYSTEAD_TRUSTED_PROXIES": "10.0.0.0/8"}
    found = findings(cli)
    assert found["base_url"]["status"] == "ok"
    assert found["trusted_proxies"]["status"] == "ok"
    assert found["trusted_proxies"]["detail"].endswith("an application server with the SDK must be among them")


def test_a_database_that_is_down_is_a_failure(sqlite_cli: Cli) -> None:
    sqlite_cli.settings["KEYSTEAD_DATABASE_URL"] = "postgresql://somebody:secret@127.0.0.1:1/keystead"
    sqlite_cli.settings["KEYSTEAD_MASTER_KEY"] = MASTER_KEY
    said = sqlite_cli("doctor", "--json")
    assert said.exit_code == 1
    assert "127.0.0.1:1" in said.out
    assert "secret" not in said.out + said.err


def test_a_database_that_is_lost_on_the_way_is_one_failure_with_its_cause(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler, which takes connections while its database is down."""

    async def ping(_: Database) -> None:
        raise ConnectionLost(cause="the server login failed")

    for kind in (PostgresDatabase, SqliteDatabase):
        monkeypatch.setattr(kind, "ping", ping)
    rows = [row for row in json.loads(cli("doctor", "--json").out) if row["check"].startswith("database")]
    assert rows == [{"check": "database", "status": "failure", "detail": "the server login failed"}]


def test_a_lost_master_key_is_a_failure(sqlite_cli: Cli) -> None:
    sqlite_cli.json("brand", "list")
    Path("keystead.db.master-key").unlink()
    found = findings(sqlite_cli)["master_key"]
    assert found["status"] == "failure"
    assert "missing" in found["detail"]
    assert not Path("keystead.db.master-key").exists()


def test_a_default_brand_that_is_not_there_is_a_warning(cli: Cli) -> None:
    cli.json("brand", "list")
    assert findings(cli)["default_brand"]["status"] == "ok"
    cli.settings["KEYSTEAD_DEFAULT_BRAND"] = "shop"
    assert findings(cli)["default_brand"]["status"] == "warning"
    cli.json("brand", "create", "shop")
    assert findings(cli)["default_brand"] == {"check": "default_brand", "status": "ok", "detail": "shop"}
    cli.json("brand", "update", "shop", "--disabled")
    assert findings(cli)["default_brand"]["status"] == "warning"


def test_endless_sessions_are_a_warning(cli: Cli) -> None:
    cli.json("brand", "create", "shop")
    assert "shop" in findings(cli)["standing_sessions"]["detail"]
    for brand in ("shop", "keystead"):
        cli.json("brand", "update", brand, "--policy", "standing_refresh_ttl=86400")
    assert findings(cli)["standing_sessions"]["status"] == "ok"


def test_many_entities_on_sqlite_are_a_warning(sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite_cli.json("brand", "create", "shop")
    file = Path("entities.toml")
    file.write_text("".join(f"[e{n}.fields]\nname = {{ type = 'string' }}\n" for n in range(3)), "utf-8")
    sqlite_cli.json("entity", "apply", "--brand", "shop", str(file))
    assert findings(sqlite_cli)["entity_tables"] == {"check": "entity_tables", "status": "ok", "detail": "3"}
    monkeypatch.setattr("keystead.cli.database_checks.MAX_ENTITY_TABLES", 2)
    assert findings(sqlite_cli)["entity_tables"]["status"] == "warning"


@pytest.mark.parametrize(("age", "signing_keys"), [(0, Status.ok), (40, Status.warning)])
async def test_a_clock_that_is_off_and_a_late_rotation_are_warnings(
    database_url: str, age: int, signing_keys: Status
) -> None:
    """The age of a key is judged by the database's clock, whatever this machine's says."""
    from keystead.web.bootstrap import open_server

    settings = load_settings({"KEYSTEAD_DATABASE_URL": database_url, "KEYSTEAD_MASTER_KEY": MASTER_KEY})
    now = SystemClock().now()
    async with open_server(settings, clock=ManualClock(now - timedelta(days=age))):
        pass
    for ahead, status in ((timedelta(), Status.ok), (timedelta(days=40), Status.warning)):
        found = by_check(await examine(settings, ManualClock(now + ahead)))
        assert (found["clock"].status, found["signing_keys"].status) == (status, signing_keys)


def by_check(found: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in found}
