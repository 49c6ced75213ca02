"""``keystead brand``."""

from __future__ import annotations

from keystead.crypto.secrets import SecretKind, parse
from tests.cli.command import Cli


def test_a_brand_is_created_with_a_token_that_is_shown_once(cli: Cli) -> None:
    made = cli.json("brand", "create", "rainbowMakers")
    assert sorted(made) == ["id", "name", "token"]
    assert parse(made["token"], SecretKind.brand_token) is not None
    assert "shown only once: ks_bt_" in cli("brand", "create", "shop").out
    assert [brand["name"] for brand in cli.json("brand", "list")] == ["keystead", "rainbowMakers", "shop"]
    listed = cli("brand", "list").out
    assert "rainbowMakers" in listed
    assert "ks_bt_" not in listed
    issued = cli.json("brand", "token", "rainbowMakers", "--revoke-others")
    assert sorted(issued) == ["brand", "token"]
    assert issued["token"] != made["token"]


def test_preset_features_policy_and_state(cli: Cli) -> None:
    cli.json("brand", "create", "shop", "--preset", "pair", "--feature", "magic_login=on")
    shop = cli.json("brand", "list")[1]
    assert shop["preset"] == "pair"
    assert (shop["features"]["magic_login"], shop["features"]["anonymous_users"]) == (True, False)
    cli.define("shop", "customer")
    changed = cli.json(
        "brand", "update", "shop", "--feature", "magic_login=off", "--policy", "access_ttl=600",
        "--policy", "idle_ttl=none", "--policy", "default_permissions=read,customer:write",
    )  # fmt: skip
    assert changed["features"]["magic_login"] is False
    assert (changed["policy"]["access_ttl"], changed["policy"]["idle_ttl"]) == (600, None)
    assert changed["policy"]["default_permissions"] == ["read", "customer:write"]
    assert cli.json("brand", "update", "shop", "--disabled")["is_disabled"] is True
    assert cli.json("brand", "update", "shop", "--enabled")["is_disabled"] is False


def test_urls_are_set_replaced_and_removed(shop: Cli) -> None:
    first, second = "https://shop.example/signed-in", "https://shop.example/again?from=mail"
    for options, base_url, redirect_urls in (
        (("--base-url", "https://auth.example/", "--redirect-url", first, "--redirect-url", second),
         "https://auth.example", [first, second]),
        (("--redirect-url", second), "https://auth.example", [second]),
        (("--feature", "magic_login=on"), "https://auth.example", [second]),
        (("--base-url", "none", "--redirect-url", "none"), None, []),
    ):  # fmt: skip
        changed = shop.json("brand", "update", "shop", *options)
        assert (changed["base_url"], changed["redirect_urls"]) == (base_url, redirect_urls)


def test_a_url_without_https_on_another_machine_is_a_warning(shop: Cli) -> None:
    safe = ("https://shop.example/", "http://localhost:3000/", "http://127.0.0.1:3000/", "http://[::1]:3000/")
    redirects = [word for url in safe for word in ("--redirect-url", url)]
    assert shop("brand", "update", "shop", *redirects, "--base-url", "none").err == ""
    said = shop("brand", "update", "shop", *redirects, "--redirect-url", "http://shop.example/", "--json")
    assert said.document["redirect_urls"] == [*safe, "http://shop.example/"]
    assert said.err.startswith("warning: --redirect-url http://shop.example/ is not https")
    assert "warning: --base-url http" in shop("brand", "update", "shop", "--base-url", "http://id.example").err


def test_an_error_names_the_field(sqlite_shop: Cli) -> None:
    for words, line in {
        "create a$b": "'name' must begin with a letter",
        "create keystead": "reserved",
        "create shop": "There is a brand called 'shop' already",
        "create other --preset triple": "--preset must be one of pair, standing, both",
        "create other --feature magic=on": "features.magic: 'magic' is not known here; known: email_ver",
        "token x": "No brand named 'x'. List brands with: keystead brand list",
        "update x --enabled": "No brand named 'x'. List brands with: keystead brand list",
        "update shop --policy access_ttl=5": "'access_ttl' must be between 30 and 3600",
        "update shop --base-url shop.example": "--base-url must begin with http:// or https:// and have no",
        "update shop --base-url https://me@shop.example": "and have no user name.",
        "update shop --redirect-url https://a.example/#x": "--redirect-url: An address to redirect to",
        "update shop --redirect-url shop://welcome": "--redirect-url must begin with http:// or https://",
        "update shop --redirect-url none --redirect-url none": "--redirect-url must begin with",
        "update keystead --disabled": "cannot be disabled",
    }.items():
        said = sqlite_shop("brand", *words.split(), "--json")
        assert said.exit_code == 1
        assert line in said.error, words
