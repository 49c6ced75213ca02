"""``keystead api-key``."""

from __future__ import annotations

import pytest

from keystead.crypto.secrets import SecretKind, parse
from tests.cli.command import Cli

NEW = ("api-key", "create", "--brand", "shop", "--name", "robot", "--permission", "read")


@pytest.fixture(autouse=True)
def brand(cli: Cli) -> None:
    cli.json("brand", "create", "shop")
    cli.define("shop", "customer")


def test_a_key_is_created(cli: Cli) -> None:
    made = cli.json(*NEW, "--permission", "customer:write")
    assert sorted(made) == ["id", "name", "token"]
    assert parse(made["token"], SecretKind.secret_key) is not None
    [listed] = cli.json("api-key", "list", "--brand", "shop")
    assert listed["permissions"] == ["customer:write", "read"]
    assert made["token"] not in cli("api-key", "list", "--brand", "shop").out


def test_a_publishable_key_is_bound_to_origins(cli: Cli) -> None:
    made = cli.json(*NEW, "--publishable", "--origin", "https://shop.example", "--origin", "https://b.example")
    assert parse(made["token"], SecretKind.publishable_key) is not None
    [listed] = cli.json("api-key", "list", "--brand", "shop")
    assert listed["allowed_origins"] == ["https://shop.example", "https://b.example"]


def test_a_publishable_key_only_reads(cli: Cli) -> None:
    assert "only hold read" in cli(*NEW, "--permission", "write", "--publishable").error


def test_a_secret_key_has_no_origins(cli: Cli) -> None:
    assert "publishable" in cli(*NEW, "--origin", "https://shop.example").error


def test_a_key_is_deleted_by_id_alone(cli: Cli) -> None:
    made = cli.json(*NEW)
    assert cli.json("api-key", "delete", made["id"]) == {"success": True, "id": made["id"], "brand": "shop"}
    assert cli.json("api-key", "list", "--brand", "shop") == []
    assert cli("api-key", "delete", made["id"]).error == "There is no such API key."


def test_a_permission_must_be_one(cli: Cli) -> None:
    assert "'everything' is not a permission" in cli(*NEW, "--permission", "everything").error
    assert cli(*NEW[:6]).exit_code == 2
