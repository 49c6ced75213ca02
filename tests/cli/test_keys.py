"""``keystead keys`` and ``keystead api-key``."""

from __future__ import annotations

import pytest

from keystead.crypto.secrets import SecretKind, parse
from tests.cli.command import Cli

NEW = ("api-key", "create", "--brand", "shop", "--name", "robot", "--permission", "read")


def test_signing_keys_are_rotated_and_a_revoked_one_is_replaced(cli: Cli) -> None:
    [first] = cli.json("keys", "list")
    assert first["state"] == "active"
    assert cli.json("keys", "rotate")["state"] == "next"
    assert [key["state"] for key in cli.json("keys", "list")] == ["active", "next"]
    assert "about to become active" in cli("keys", "rotate").error
    assert "active" in cli("keys", "list").out
    assert cli.json("keys", "revoke", first["kid"]) == {"success": True, "kid": first["kid"]}
    states = {key["kid"]: key["state"] for key in cli.json("keys", "list")}
    assert states.pop(first["kid"]) == "retired"
    assert list(states.values()) == ["active"]
    assert "becomes active at" in cli("keys", "rotate").out


def test_an_unknown_signing_key_is_not_revoked(sqlite_cli: Cli) -> None:
    """An id is base64url: a hyphen at its start makes it no option."""
    sqlite_cli.json("keys", "list")
    for kid in ("nothing", "-InnDSVZHIs2GN2_9rqMzWma5scI80lWY_yPk69a4cw", "--jsonVZHIs2GN2_9rqMzWma5"):
        assert "no signing key" in sqlite_cli("keys", "revoke", kid).error


def test_an_api_key_is_created_and_deleted_by_its_id(shop: Cli) -> None:
    shop.define("shop", "customer")
    made = shop.json(*NEW, "--permission", "customer:write")
    assert sorted(made) == ["id", "name", "token"]
    assert parse(made["token"], SecretKind.secret_key) is not None
    [listed] = shop.json("api-key", "list", "--brand", "shop")
    assert listed["permissions"] == ["customer:write", "read"]
    assert made["token"] not in shop("api-key", "list", "--brand", "shop").out
    assert shop.json("api-key", "delete", made["id"]) == {"success": True, "id": made["id"], "brand": "shop"}
    assert shop.json("api-key", "list", "--brand", "shop") == []
    assert shop("api-key", "delete", made["id"]).error == (
        "No API key with this id. List them with: keystead api-key list --brand BRAND"
    )


def test_a_publishable_key_is_restricted_to_origins(shop: Cli) -> None:
    made = shop.json(*NEW, "--publishable", "--origin", "https://shop.example", "--origin", "https://b.example")
    assert parse(made["token"], SecretKind.publishable_key) is not None
    [listed] = shop.json("api-key", "list", "--brand", "shop")
    assert listed["allowed_origins"] == ["https://shop.example", "https://b.example"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--permission", "write", "--publishable"), "only hold read"),
        (("--origin", "https://shop.example"), "publishable"),
        (("--permission", "everything"), "'everything' is not a permission"),
    ],
)
def test_an_unsound_api_key_is_rejected(sqlite_shop: Cli, options: tuple[str, ...], line: str) -> None:
    assert line in sqlite_shop(*NEW, *options).error
