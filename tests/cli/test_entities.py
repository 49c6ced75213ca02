"""``keystead entity``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Cli

CUSTOMER = """
[customer]
[customer.fields]
name  = { type = "string", required = true, max_length = 200 }
email = { type = "email", unique = true }
"""
WITHOUT_EMAIL = CUSTOMER.rsplit("\n", 2)[0] + "\n"
APPLY = ("entity", "apply", "--brand", "shop", "entities.toml")
LIST = ("entity", "list", "--brand", "shop")


@pytest.fixture(autouse=True)
def file(shop: Cli) -> Path:
    path = shop.folder / "entities.toml"
    path.write_text(CUSTOMER, "utf-8")
    return path


def test_a_file_is_applied_after_a_dry_run(cli: Cli) -> None:
    said = cli(*APPLY, "--dry-run")
    assert "create_entity" in said.out
    assert "nothing was changed" in said.out
    assert cli.json(*LIST) == []
    plan = cli.json(*APPLY)
    assert plan["applied"] is True
    assert [(step["entity"], step["action"]) for step in plan["steps"]] == [("customer", "create_entity")]
    [listed] = cli.json(*LIST)
    assert (listed["name"], listed["record_count"]) == ("customer", 0)
    assert listed["definition"]["fields"]["email"] == {"type": "email", "unique": True}
    again = cli.json(*APPLY)
    assert (again["steps"], again["schema_version"]) == ([], plan["schema_version"])


def test_a_plan_that_loses_data_is_rejected_unless_allowed(cli: Cli, file: Path) -> None:
    cli.json(*APPLY)
    file.write_text(WITHOUT_EMAIL, "utf-8")
    said = cli(*APPLY)
    assert said.exit_code == 1
    assert said.err.startswith("error: customer.email: ")
    assert "Set --allow-data-loss to drop it." in said.err
    assert list(cli.json(*LIST)[0]["fields"]) == ["name", "email"]
    assert cli.json(*APPLY, "--allow-data-loss")["steps"][0]["loses_data"] is True
    assert cli.json(*LIST)[0]["fields"] == ["name"]


def test_an_invalid_file_is_located(cli: Cli, file: Path) -> None:
    for text, line in {
        b"[customer": "not valid TOML", b"[customer.fields]\nname = { typ = 'string' }": "customer.fields.name.typ",
        b"[customer.fields]\nname = { type = 'strng' }": "customer.fields.name.type: 'type' has an invalid value",
        b"[c.fields]\nname = { type = 'strng' }": "(known: string, text, ",
        b"[me.fields]\nname = { type = 'string' }": "'me'", b"": "at least one entity", b"\xff\xfe": "UTF-8",
    }.items():  # fmt: skip
        file.write_bytes(text)
        assert line in cli(*APPLY).error


def test_a_deletion_is_shown_before_it_is_done(cli: Cli) -> None:
    cli.json(*APPLY)
    cli.json("api-key", "create", "--brand", "shop", "--name", "k", "--permission", "customer:read")
    delete = ("entity", "delete", "--brand", "shop", "customer")
    step = {"entity": "customer", "records": 0, "roles": 0, "users": 0, "api_keys": 1, "default_permissions": 0}
    assert cli.json(*delete, "--dry-run") == {"applied": False, "steps": [step]}
    assert "nothing was deleted" in cli(*delete, "--dry-run").out
    assert len(cli.json(*LIST)) == 1
    assert cli.json(*delete) == {"applied": True, "steps": [step]}
    assert cli.json(*LIST) == []
    assert cli.json("api-key", "list", "--brand", "shop")[0]["permissions"] == []
    assert cli(*delete).error == "There is no entity 'customer'."


def test_a_permission_of_an_unknown_entity_is_rejected(cli: Cli) -> None:
    cli.json(*APPLY)
    wrong = "'custommer:read' names no entity of this brand: did you mean 'customer:read'?"
    key = ("api-key", "create", "--brand", "shop", "--name", "k", "--permission", "custommer:read")
    user = ("user", "create", "--brand", "shop", "--email", "ann@example.com", "--permission", "custommer:read")
    policy = ("brand", "update", "shop", "--policy", "default_permissions=custommer:read")
    for words in (key, user, policy):
        assert cli(*words).error.endswith(wrong)
