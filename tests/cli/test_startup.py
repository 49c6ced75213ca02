"""Errors before a command's work: settings, master key, schema, port. One line on stderr, an exit code."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from keystead.cli.serve import parse_plain
from keystead.db.migrate import head_revision
from tests.cli.command import MASTER_KEY, Cli
from tests.databases import PostgresTemplate

POSTGRES = "postgresql://u:secret@127.0.0.1:1/x"


@pytest.mark.parametrize(
    ("settings", "exit_code", "line"),
    [
        ({"KEYSTEAD_INTROSPECTION": "sometimes"}, 78, "KEYSTEAD_INTROSPECTION"),
        ({"KEYSTEAD_DATABASE_URL": "mysql://localhost/x"}, 78, "KEYSTEAD_DATABASE_URL"),
        ({"KEYSTEAD_DATABASE_URL": "sqlite:////dev/null/keystead.db"}, 1, "/dev/null/keystead.db"),
        ({"KEYSTEAD_MASTER_KEY": "too short"}, 78, "at least 32 bytes"),
        ({"KEYSTEAD_MASTER_KEY": "changeme" * 4}, 78, "KEYSTEAD_MASTER_KEY: the master key is easy to guess"),
        ({"KEYSTEAD_MASTER_KEY_FILE": "missing"}, 78, "KEYSTEAD_MASTER_KEY_FILE"),
        ({"KEYSTEAD_CONFIG": "missing.toml"}, 78, "KEYSTEAD_CONFIG"),
        ({"KEYSTEAD_SMTP_URL": "smtp://me:secret@mail.example.com?starttls=off"}, 78, "KEYSTEAD_SMTP_URL: "),
        ({"KEYSTEAD_DATABASE_URL": POSTGRES}, 78, "KEYSTEAD_MASTER_KEY: required"),
        ({"KEYSTEAD_DATABASE_URL": POSTGRES, "KEYSTEAD_MASTER_KEY": MASTER_KEY}, 1, "Cannot reach PostgreSQL at 127."),
    ],
)
def test_a_setting_or_database_that_cannot_be_used_is_one_line(
    sqlite_cli: Cli, free_port: str, settings: dict[str, str], exit_code: int, line: str
) -> None:
    sqlite_cli.settings |= settings
    for words in (("brand", "list"), ("serve", "--port", free_port)):
        said = sqlite_cli(*words, "--json")
        assert said.exit_code == exit_code
        assert line in said.error
        assert "secret" not in said.err


def test_serve_rejects_another_or_a_lost_master_key(sqlite_cli: Cli, free_port: str) -> None:
    key = Path("keystead.db.master-key")
    sqlite_cli.json("migrate")
    assert not key.exists()
    sqlite_cli.json("brand", "list")
    sqlite_cli.settings["KEYSTEAD_MASTER_KEY"] = MASTER_KEY
    said = sqlite_cli("serve", "--port", free_port)
    assert (said.exit_code, "not the master key this database was made with" in said.error) == (78, True)
    del sqlite_cli.settings["KEYSTEAD_MASTER_KEY"]
    key.unlink()
    said = sqlite_cli("serve", "--port", free_port)
    assert (said.exit_code, "keystead.db.master-key is missing" in said.error) == (78, True)
    assert not key.exists()


def test_serve_on_a_port_in_use_names_the_option(sqlite_cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = sqlite_cli("serve", "--port", port, "--json")
    assert said.exit_code == 1
    assert port in said.error
    assert "--port" in said.error


def test_a_new_database_is_reported_once(sqlite_cli: Cli) -> None:
    path = sqlite_cli.folder / "keystead.db"
    assert sqlite_cli("brand", "list").err == f"note: created a new database: {path}\n"
    assert sqlite_cli("brand", "list").err == ""


def test_migrate_reports_both_revisions(sqlite_cli: Cli) -> None:
    assert sqlite_cli.json("migrate") == {"from": None, "to": head_revision()}
    assert sqlite_cli.json("migrate") == {"from": head_revision(), "to": head_revision()}
    assert "up to date" in sqlite_cli("migrate").out
    assert sqlite_cli.json("brand", "list")[0]["name"] == "keystead"


def test_postgres_must_be_migrated_before_use(
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


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--prot 4000", "No such option: --prot"), ("bogus", "No such command 'bogus' (see "),
        ("user list", "user list --help)"), ("serve --port 99999", "'--port'"), ("brand create", "'NAME'"),
        ("brand create shop --feature magic_login", "is not NAME=on or NAME=off"),
        ("brand create shop --feature magic_login=yes", "is not NAME=on or NAME=off"),
        ("brand update shop --policy access_ttl", "is not NAME=VALUE"),
        ("brand update shop --policy access_ttl=soon", "neither an integer nor 'none'"),
        ("brand update shop", "nothing to change. Use --feature, "), ("brand invent shop", "No such command 'invent'"),
        ("user create --brand shop --email a@b.example --password x", "No such option: --password"),
        ("api-key create --brand shop --name robot", "'--permission'"),
        ("entity apply --brand shop missing.toml", "'missing.toml'"), ("mail show", "'ID'"), ("mail preview", "'KIND'"),
        ("mail template list", "'--brand'"), ("mail template set verify_email --brand shop", "'--language'"),
        ("mail template set verify_email --brand shop --language fr --file nothing.jinja", "'nothing.jinja'"),
        ("mail send", "No such command 'send'"),
    ],
)  # fmt: skip
def test_a_usage_error_is_one_line_and_exit_code_2(sqlite_cli: Cli, words: str, line: str) -> None:
    said = sqlite_cli(*words.split())
    assert said.exit_code == 2
    assert line in said.error
    assert "--help)" in said.error
    assert not Path("keystead.db").exists()


def test_help_names_every_group_and_a_group_without_a_command_prints_it(sqlite_cli: Cli) -> None:
    said = sqlite_cli("brand")
    assert (said.exit_code, "Usage" in said.out + said.err) == (2, True)
    said = sqlite_cli("--help")
    assert said.exit_code == 0
    for group in ("serve", "migrate", "demo", "brand", "user", "api-key", "entity", "keys", "mail", "doctor"):
        assert group in said.out


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        ("serve", {}),
        ("serve --port 8080", {"port": 8080}),
        ("serve --port=8080 --host=::", {"port": 8080, "host": "::"}),
        ("serve --workers 2 --json", {"workers": 2, "as_json": True}),
        ("serve --host 0.0.0.0 --host ::1", {"host": "::1"}),
    ],
)
def test_a_valid_serve_command_is_parsed_without_typer(words: str, parsed: dict[str, Any]) -> None:
    assert parse_plain(words.split()) == parsed


@pytest.mark.parametrize(
    "words",
    [
        "", "brand list", "--help", "serve --help", "serve -h", "serve 8080", "serve --port", "serve --port x",
        "serve --port 0", "serve --port 65536", "serve --port=", "serve --workers -1", "serve --workers 257",
        "serve --host", "serve --host=", "serve --prot 1", "serve --port ٣", "serve --json=1",
    ],
)  # fmt: skip
def test_any_other_command_is_left_to_typer(words: str) -> None:
    assert parse_plain(words.split()) is None
