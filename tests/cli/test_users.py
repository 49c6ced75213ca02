"""``keystead user``."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from keystead.api_keys import creators
from keystead.cli.output import _cell
from tests.cli.command import Cli

NEW = ("user", "create", "--brand", "shop", "--email", "luna@shop.example")


def make_api_keys(cli: Cli, creator: str, *names: str) -> list[str]:
    """The ids of API keys in a SQLite database, created by this user."""
    words = ("api-key", "create", "--brand", "shop", "--permission", "read", "--name")
    ids: list[str] = [cli.json(*words, name)["id"] for name in names]
    with closing(sqlite3.connect(cli.folder / "keystead.db")) as database, database:
        database.executemany("UPDATE api_keys SET created_by = ? WHERE id = ?", [(creator, key_id) for key_id in ids])
    return ids


def test_a_user_is_created_and_disabled_by_its_id(shop: Cli) -> None:
    made = shop.json(*NEW, "--password-stdin", "--permission", "admin", "--verified", stdin="rainbow123\n")
    assert sorted(made) == ["email", "id"]
    [listed] = shop.json("user", "list", "--brand", "shop")
    assert (listed["id"], listed["email"], listed["verified"]) == (made["id"], "luna@shop.example", True)
    assert listed["permissions"] == ["admin"]
    assert shop("user", "disable", made["id"], "--brand", "keystead").error == (
        "No user with this id. List them with: keystead user list --brand keystead"
    )
    assert shop.json("user", "disable", made["id"]) == {
        "success": True, "id": made["id"], "brand": "shop", "api_keys": [], "api_keys_total": 0,
        "api_keys_revoked": False
    }  # fmt: skip
    assert shop.json("user", "list", "--brand", "shop")[0]["is_disabled"] is True
    assert shop.json("user", "disable", made["id"], "--brand", "shop")["success"] is True


def test_an_unverified_address_and_a_default_base_url_are_noted(sqlite_shop: Cli) -> None:
    """Only a running server knows its port: a link that a command mails may lead to another one."""

    def notes(name: str, *more: str) -> str:
        return sqlite_shop("user", "create", "--brand", "shop", "--email", f"{name}@shop.example", "--json", *more).err

    unverified = "note: {}@shop.example must be verified by mail before login. To skip this: --verified\n"
    base_url = "note: links begin with http://localhost:4000: set KEYSTEAD_BASE_URL\n"
    assert notes("a") == unverified.format("a") + base_url
    assert notes("b", "--verified") == ""
    sqlite_shop.json("brand", "update", "shop", "--base-url", "https://id.shop.example")
    assert notes("c") == unverified.format("c")
    sqlite_shop.json("brand", "update", "shop", "--base-url", "none", "--feature", "email_verification=off")
    assert notes("d") == ""
    sqlite_shop.json("brand", "update", "shop", "--feature", "email_verification=on")
    sqlite_shop.settings["KEYSTEAD_BASE_URL"] = "http://localhost:4000"
    assert notes("e") == unverified.format("e")


def test_disabling_a_user_lists_counts_and_deletes_the_api_keys_that_the_user_created(
    sqlite_shop: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sqlite_shop.json(*NEW, "--verified")["id"]
    [own], [other] = make_api_keys(sqlite_shop, made, "own"), make_api_keys(sqlite_shop, "another", "other")
    said = sqlite_shop("user", "disable", made)
    assert f"still work: {own}. To delete them: --revoke-api-keys" in said.err
    done = sqlite_shop.json("user", "disable", made, "--revoke-api-keys")
    assert ([key["id"] for key in done["api_keys"]], done["api_keys_total"]) == ([own], 1)
    assert done["api_keys_revoked"] is True
    assert [key["id"] for key in sqlite_shop.json("api-key", "list", "--brand", "shop")] == [other]
    make_api_keys(sqlite_shop, made, *"abc")
    monkeypatch.setattr(creators, "MOST_SHOWN", 1)
    assert " and 2 more. To delete them: --revoke-api-keys" in sqlite_shop("user", "disable", made).err
    assert "2 more API keys are deleted." in sqlite_shop("user", "disable", made, "--revoke-api-keys").out


@pytest.mark.parametrize("brand_name", ["shop", "keystead"])
def test_disabling_the_last_administrator_is_a_warning(shop: Cli, brand_name: str) -> None:
    words = ("user", "create", "--brand", brand_name, "--verified", "--permission")
    ids = [shop.json(*words, "admin", "--email", f"{name}@shop.example")["id"] for name in "ab"]
    reader = shop.json(*words, "read", "--email", "c@shop.example")["id"]
    assert shop("user", "disable", ids[0]).err == ""
    assert f"warning: {brand_name} has no administrator left" in shop("user", "disable", ids[1]).err
    assert shop("user", "disable", reader).err == ""


def test_the_line_end_is_not_part_of_the_password(sqlite_shop: Cli) -> None:
    """Seven characters and a line end would be eight, the minimum."""
    words = ("user", "create", "--brand", "shop", "--password-stdin", "--email")
    for number, end in enumerate(("\n", "\r\n", "")):
        assert sqlite_shop.json(*words, f"{number}@shop.example", stdin=f"rainbow123{end}")["id"]
        assert "8" in sqlite_shop(*words, "short@shop.example", stdin=f"q7!x9#z{end}").error
    for stdin in ("", "\n", b"\xff\xfe\n"):
        said = sqlite_shop(*words, "a@shop.example", stdin=stdin)
        assert said.exit_code == 2
        assert "--password-stdin" in said.err


def test_an_error_names_the_field(sqlite_shop: Cli) -> None:
    sqlite_shop.json(*NEW, "--verified")
    words = ("user", "create", "--brand", "shop", "--json", "--email")
    for more, stdin, line in (
        (("no address",), "", "email"),
        (("a@b.example", "--permission", "operator"), "", "operator"),
        (("a@b.example", "--password-stdin"), "password\n", "password"),
        (("luna@shop.example",), "", "taken"),
    ):
        said = sqlite_shop(*words, *more, stdin=stdin)
        assert said.exit_code == 1
        assert line in said.error


def test_stored_text_cannot_control_the_terminal() -> None:
    assert _cell("a\x1b[31mb") == "a\ufffd[31mb"
