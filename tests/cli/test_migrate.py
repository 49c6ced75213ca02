"""``keystead migrate``, and what the others do where it was not run."""

from __future__ import annotations

from keystead.db.migrate import head_revision
from tests.cli.command import MASTER_KEY, Cli
from tests.databases import PostgresTemplate


def test_an_empty_file_is_brought_up(sqlite_cli: Cli) -> None:
    assert sqlite_cli.json("migrate") == {"from": None, "to": head_revision()}
    assert sqlite_cli.json("migrate") == {"from": head_revision(), "to": head_revision()}
    assert "up to date" in sqlite_cli("migrate").out


def test_sqlite_needs_no_migrate(sqlite_cli: Cli) -> None:
    assert sqlite_cli.json("brand", "list")[0]["name"] == "keystead"
    assert sqlite_cli.json("migrate") == {"from": head_revision(), "to": head_revision()}


def test_postgres_refuses_a_stale_schema_until_it_is_migrated(
    postgres_url: str, postgres_template: PostgresTemplate, sqlite_cli: Cli
) -> None:
    url = postgres_template.copy()
    empty = f"{url.rpartition('/')[0]}/postgres"
    cli = Cli(sqlite_cli.folder, {"KEYSTEAD_DATABASE_URL": empty, "KEYSTEAD_MASTER_KEY": MASTER_KEY})
    said = cli("brand", "list", "--json")
    assert said.exit_code == 1
    assert "keystead migrate" in said.error
    migrated = Cli(cli.folder, cli.settings | {"KEYSTEAD_DATABASE_URL": url})
    assert migrated.json("migrate") == {"from": head_revision(), "to": head_revision()}
    assert migrated.json("brand", "list")[0]["name"] == "keystead"
    postgres_template.drop(url)
