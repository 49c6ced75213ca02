"""``keystead user``."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from keystead.api_keys import creators
from tests.cli.command import Cli

NEW = ("user", "create", "--brand", "shop", "--email", "luna@shop.example")


@pytest.fixture(autouse=True)
def brand(request: pytest.FixtureRequest) -> None:
    name = "cli" if "cli" in request.fixturenames else "sqlite_cli"
    request.getfixturevalue(name).json("brand", "create", "shop")


def test_a_user_is_created(cli: Cli) -> None:
    made = cli.json(*NEW, "--password-stdin", "--permission", "admin", "--verified", stdin="rainbow123\n")
    assert sorted(made) == ["email", "id"]
    [listed] = cli.json("user", "list", "--brand", "shop")
    assert listed["id"] == made["id"]
    assert listed["email"] == "luna@shop.example"
    assert listed["verified"] is True
    assert listed["permissions"] == ["admin"]


def test_an_address_without_proof_is_said_to_wait(cli: Cli) -> None:
    said = cli(*NEW, "--password-stdin", "--json", stdin="rainbow123\n")
    assert said.document["email"] == "luna@shop.example"
    assert "waits for proof" in said.err


def test_where_links_begin_is_said_where_nobody_chose_it(cli: Cli) -> None:
    """Only a server knows its port: a link that a command mails may lead to another one."""

    def notes(name: str, *more: str) -> str:
        return cli("user", "create", "--brand", "shop", "--email", f"{name}@shop.example", "--json", *more).err

    line = "note: links begin with http://localhost:4000: set KEYSTEAD_BASE_URL\n"
    assert notes("a").endswith(line)
    assert notes("b", "--verified") == ""
    cli.json("brand", "update", "shop", "--base-url", "https://id.shop.example")
    assert line not in notes("c")
    cli.json("brand", "update", "shop", "--base-url", "none")
    cli.settings["KEYSTEAD_BASE_URL"] = "http://localhost:4000"
    assert line not in notes("d")


def test_where_no_proof_is_asked_for_nothing_waits(cli: Cli) -> None:
    cli.json("brand", "update", "shop", "--feature", "email_verification=off")
    assert cli(*NEW, "--password-stdin", stdin="rainbow123\n").err == ""


def test_the_password_is_never_an_argument(cli: Cli) -> None:
    assert cli(*NEW, "--password", "rainbow123").exit_code == 2


def test_a_user_is_disabled_by_id_alone(cli: Cli) -> None:
    made = cli.json(*NEW, "--verified")
    done = cli.json("user", "disable", made["id"])
    assert done == {
        "success": True, "id": made["id"], "brand": "shop", "api_keys": [], "api_keys_total": 0,
        "api_keys_revoked": False
    }  # fmt: skip
    assert cli.json("user", "list", "--brand", "shop")[0]["is_disabled"] is True


def test_disabling_shows_and_revokes_the_keys_that_the_user_made(sqlite_cli: Cli) -> None:
    made = sqlite_cli.json(*NEW, "--verified")
    words = ("api-key", "create", "--brand", "shop", "--permission", "read", "--name")
    theirs, other = sqlite_cli.json(*words, "theirs"), sqlite_cli.json(*words, "other")
    with closing(sqlite3.connect(sqlite_cli.folder / "keystead.db")) as database, database:
        database.execute("UPDATE api_keys SET created_by = ? WHERE id = ?", (made["id"], theirs["id"]))
    said = sqlite_cli("user", "disable", made["id"])
    assert f"still work: {theirs['id']} (--revoke-api-keys)" in said.err
    done = sqlite_cli.json("user", "disable", made["id"], "--revoke-api-keys")
    assert ([key["id"] for key in done["api_keys"]], done["api_keys_total"]) == ([theirs["id"]], 1)
    assert done["api_keys_revoked"] is True
    assert [key["id"] for key in sqlite_cli.json("api-key", "list", "--brand", "shop")] == [other["id"]]


def test_keys_beyond_those_that_are_listed_are_counted(sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sqlite_cli.json(*NEW, "--verified")
    for name in "abc":
        sqlite_cli.json("api-key", "create", "--brand", "shop", "--permission", "read", "--name", name)
    with closing(sqlite3.connect(sqlite_cli.folder / "keystead.db")) as database, database:
        database.execute("UPDATE api_keys SET created_by = ?", (made["id"],))
    monkeypatch.setattr(creators, "MOST_SHOWN", 1)
    assert " and 2 more (--revoke-api-keys)" in sqlite_cli("user", "disable", made["id"]).err
    assert "2 more API keys are deleted." in sqlite_cli("user", "disable", made["id"], "--revoke-api-keys").out


@pytest.mark.parametrize("brand_name", ["shop", "keystead"])
def test_disabling_the_last_administrator_is_a_warning(cli: Cli, brand_name: str) -> None:
    words = ("user", "create", "--brand", brand_name, "--verified", "--permission")
    ids = [cli.json(*words, "admin", "--email", f"{name}@shop.example")["id"] for name in "ab"]
    reader = cli.json(*words, "read", "--email", "c@shop.example")["id"]
    assert cli("user", "disable", ids[0]).err == ""
    assert f"warning: {brand_name} has no administrator left" in cli("user", "disable", ids[1]).err
    assert cli("user", "disable", reader).err == ""


def test_a_user_is_looked_for_in_the_named_brand_alone(cli: Cli) -> None:
    made = cli.json(*NEW, "--verified")
    assert cli("user", "disable", made["id"], "--brand", "keystead").error == "There is no such user."
    assert cli.json("user", "disable", made["id"], "--brand", "shop")["success"] is True


def test_the_first_operator_is_made(cli: Cli) -> None:
    words = ("--email", "root@shop.example", "--password-stdin", "--permission", "admin", "--verified")
    made = cli.json("user", "create", "--brand", "keystead", *words, stdin="a good password\n")
    assert made["email"] == "root@shop.example"


@pytest.mark.parametrize("line", ["rainbow123\n", "rainbow123\r\n", "rainbow123"])
def test_the_end_of_the_line_is_no_part_of_the_password(sqlite_cli: Cli, line: str) -> None:
    """Seven characters and the end of the line would be eight."""
    assert sqlite_cli.json(*NEW, "--password-stdin", stdin=line)["email"] == "luna@shop.example"
    short = line.replace("rainbow123", "q7!x9#z")
    other = ("user", "create", "--brand", "shop", "--email", "b@shop.example", "--password-stdin")
    assert "8" in sqlite_cli(*other, stdin=short).error


@pytest.mark.parametrize(
    ("words", "stdin", "line"),
    [
        (("--email", "not an address"), "", "email"),
        (("--email", "a@b.example", "--permission", "operator"), "", "operator"),
        (("--email", "a@b.example", "--password-stdin"), "password\n", "password"),
    ],
)
def test_what_is_refused_names_the_field(sqlite_cli: Cli, words: tuple[str, ...], stdin: str, line: str) -> None:
    said = sqlite_cli("user", "create", "--brand", "shop", *words, "--json", stdin=stdin)
    assert said.exit_code == 1
    assert line in said.error


@pytest.mark.parametrize("stdin", ["", "\n", b"\xff\xfe\n"])
def test_a_missing_password_is_wrong_usage(sqlite_cli: Cli, stdin: str | bytes) -> None:
    said = sqlite_cli(*NEW, "--password-stdin", stdin=stdin)
    assert said.exit_code == 2
    assert "--password-stdin" in said.err


def test_the_same_address_twice_is_refused(sqlite_cli: Cli) -> None:
    sqlite_cli.json(*NEW, "--verified")
    assert "taken" in sqlite_cli(*NEW, "--verified").error


def test_what_others_wrote_cannot_drive_the_terminal(sqlite_cli: Cli) -> None:
    from keystead.cli.output import _cell

    assert _cell("a\x1b[31mb") == "a\ufffd[31mb"
    assert sqlite_cli("user", "list", "--brand", "shop").out == ""
