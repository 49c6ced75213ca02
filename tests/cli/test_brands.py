"""``keystead brand``."""

from __future__ import annotations

import pytest

from keystead.crypto.secrets import SecretKind, parse
from tests.cli.command import Cli


def test_a_brand_is_created_with_a_token(cli: Cli) -> None:
    made = cli.json("brand", "create", "rainbowMakers")
    assert sorted(made) == ["id", "name", "token"]
    assert made["name"] == "rainbowMakers"
    assert parse(made["token"], SecretKind.brand_token) is not None


def test_a_token_is_shown_once_and_said_to_be(cli: Cli) -> None:
    said = cli("brand", "create", "rainbowMakers")
    assert "shown this once: ks_bt_" in said.out
    assert "ks_bt_" not in cli("brand", "list").out


def test_brands_are_listed_with_the_operators_own(cli: Cli) -> None:
    cli.json("brand", "create", "rainbowMakers")
    assert [brand["name"] for brand in cli.json("brand", "list")] == ["keystead", "rainbowMakers"]
    assert "rainbowMakers" in cli("brand", "list").out


def test_preset_and_features_are_chosen(cli: Cli) -> None:
    cli.json("brand", "create", "shop", "--preset", "pair", "--feature", "magic_login=on")
    shop = cli.json("brand", "list")[1]
    assert shop["preset"] == "pair"
    assert shop["features"]["magic_login"] is True
    assert shop["features"]["anonymous_users"] is False


def test_another_token_is_issued(cli: Cli) -> None:
    first = cli.json("brand", "create", "shop")["token"]
    issued = cli.json("brand", "token", "shop", "--revoke-others")
    assert sorted(issued) == ["brand", "token"]
    assert issued["token"] != first


def test_features_and_policy_are_changed(cli: Cli) -> None:
    cli.json("brand", "create", "shop")
    cli.define("shop", "customer")
    changed = cli.json(
        "brand", "update", "shop", "--feature", "magic_login=on", "--policy", "access_ttl=600",
        "--policy", "idle_ttl=none", "--policy", "default_permissions=read,customer:write",
    )  # fmt: skip
    assert changed["features"]["magic_login"] is True
    assert changed["policy"]["access_ttl"] == 600
    assert changed["policy"]["idle_ttl"] is None
    assert changed["policy"]["default_permissions"] == ["read", "customer:write"]


def test_addresses_are_set_replaced_and_taken_away(cli: Cli) -> None:
    cli.json("brand", "create", "shop")
    first, second = "https://shop.example/signed-in", "https://shop.example/again?from=mail"
    update = ("brand", "update", "shop")
    changed = cli.json(
        *update, "--base-url", "https://auth.example/", "--redirect-url", first, "--redirect-url", second
    )
    assert (changed["base_url"], changed["redirect_urls"]) == ("https://auth.example", [first, second])
    changed = cli.json(*update, "--redirect-url", second)
    assert (changed["base_url"], changed["redirect_urls"]) == ("https://auth.example", [second])
    changed = cli.json(*update, "--feature", "magic_login=on")
    assert (changed["base_url"], changed["redirect_urls"]) == ("https://auth.example", [second]), "nobody asked"
    changed = cli.json(*update, "--base-url", "none", "--redirect-url", "none")
    assert (changed["base_url"], changed["redirect_urls"]) == (None, [])


def test_an_address_that_tokens_could_be_taken_from_is_a_warning(cli: Cli) -> None:
    cli.json("brand", "create", "shop")
    safe = ("https://shop.example/", "http://localhost:3000/", "http://127.0.0.1:3000/", "http://[::1]:3000/")
    for url in safe:
        assert cli("brand", "update", "shop", "--redirect-url", url).err == "", url
    said = cli("brand", "update", "shop", "--redirect-url", safe[0], "--redirect-url", "http://shop.example/", "--json")
    assert said.document["redirect_urls"] == [safe[0], "http://shop.example/"]
    assert said.err.startswith("warning: --redirect-url http://shop.example/ is not https")
    assert "warning: --base-url http" in cli("brand", "update", "shop", "--base-url", "http://id.example").err
    assert cli("brand", "update", "shop", "--base-url", "none", "--redirect-url", "none").err == ""


def test_a_brand_is_closed_and_opened(cli: Cli) -> None:
    cli.json("brand", "create", "shop")
    assert cli.json("brand", "update", "shop", "--disabled")["is_disabled"] is True
    assert cli.json("brand", "update", "shop", "--enabled")["is_disabled"] is False


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["create", "a b"], "'name' must begin with a letter"),
        (["create", "keystead"], "reserved"),
        (["create", "shop"], "There is a brand called 'shop' already"),
        (["create", "other", "--preset", "triple"], "--preset must be one of pair, standing, both"),
        (["create", "other", "--feature", "magic=on"], "features.magic: 'magic' is not known here; known: email_ver"),
        (["token", "nobody"], "There is no brand 'nobody'"),
        (["update", "nobody", "--enabled"], "There is no brand 'nobody'"),
        (["update", "shop", "--policy", "access_ttl=5"], "'access_ttl' must be between 30 and 3600"),
        (
            ["update", "shop", "--base-url", "shop.example"],
            "--base-url must begin with http:// or https:// and have no",
        ),
        (["update", "shop", "--base-url", "https://me@shop.example"], "and have no user name."),
        (["update", "shop", "--redirect-url", "https://a.example/#x"], "--redirect-url: An address to redirect to"),
        (["update", "shop", "--redirect-url", "shop://welcome"], "--redirect-url must begin with http:// or https://"),
        (["update", "shop", "--redirect-url", "none", "--redirect-url", "none"], "--redirect-url must begin with"),
        (["update", "keystead", "--disabled"], "cannot be disabled"),
    ],
)
def test_what_is_refused_names_the_field(sqlite_cli: Cli, words: list[str], line: str) -> None:
    sqlite_cli.json("brand", "create", "shop")
    said = sqlite_cli("brand", *words, "--json")
    assert said.exit_code == 1
    assert line in said.error


@pytest.mark.parametrize(
    "words",
    [
        ["create"],
        ["create", "shop", "--feature", "magic_login"],
        ["create", "shop", "--feature", "magic_login=yes"],
        ["create", "shop", "--policy", "access_ttl"],
        ["create", "shop", "--policy", "access_ttl=soon"],
        ["update", "shop"],
        ["invent", "shop"],
    ],
)
def test_wrong_usage_is_2_and_one_line(sqlite_cli: Cli, words: list[str]) -> None:
    said = sqlite_cli("brand", *words)
    assert said.exit_code == 2
    assert "--help)" in said.error
