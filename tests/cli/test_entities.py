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


@pytest.fixture(autouse=True)
def file(cli: Cli) -> Path:
    cli.json("brand", "create", "shop")
    path = cli.folder / "entities.toml"
    path.write_text(CUSTOMER, "utf-8")
    return path


def test_a_file_is_applied(cli: Cli, file: Path) -> None:
    plan = cli.json("entity", "apply", "--brand", "shop", str(file))
    assert plan["applied"] is True
    assert [(step["entity"], step["action"]) for step in plan["steps"]] == [("customer", "create_entity")]
    [listed] = cli.json("entity", "list", "--brand", "shop")
    assert listed["name"] == "customer"
    assert listed["record_count"] == 0
    assert listed["definition"]["fields"]["email"] == {"type": "email", "unique": True}


def test_a_second_time_there_is_nothing_to_do(cli: Cli, file: Path) -> None:
    first = cli.json("entity", "apply", "--brand", "shop", str(file))
    again = cli.json("entity", "apply", "--brand", "shop", str(file))
    assert again["steps"] == []
    assert again["schema_version"] == first["schema_version"]


def test_a_dry_run_changes_nothing(cli: Cli, file: Path) -> None:
    said = cli("entity", "apply", "--brand", "shop", str(file), "--dry-run")
    assert "create_entity" in said.out
    assert "nothing was changed" in said.out
    assert cli.json("entity", "list", "--brand", "shop") == []


def test_a_refused_plan_names_its_steps(cli: Cli, file: Path) -> None:
    cli.json("entity", "apply", "--brand", "shop", str(file))
    file.write_text(WITHOUT_EMAIL, "utf-8")
    said = cli("entity", "apply", "--brand", "shop", str(file))
    assert said.exit_code == 1
    assert said.err.startswith("error: customer.email: ")
    assert list(cli.json("entity", "list", "--brand", "shop")[0]["fields"]) == ["name", "email"]


def test_data_is_lost_only_when_that_is_allowed(cli: Cli, file: Path) -> None:
    cli.json("entity", "apply", "--brand", "shop", str(file))
    file.write_text(WITHOUT_EMAIL, "utf-8")
    refused = cli("entity", "apply", "--brand", "shop", str(file))
    assert refused.exit_code == 1
    assert "Set --allow-data-loss to drop it." in refused.err
    plan = cli.json("entity", "apply", "--brand", "shop", str(file), "--allow-data-loss")
    assert plan["steps"][0]["loses_data"] is True
    assert cli.json("entity", "list", "--brand", "shop")[0]["fields"] == ["name"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[customer", "not valid TOML"),
        ("[customer.fields]\nname = { typ = 'string' }", "customer.fields.name.typ"),
        (
            "[customer.fields]\nname = { type = 'strng' }",
            "customer.fields.name.type: 'type' has a value that it cannot ",
        ),
        ("[customer.fields]\nname = { type = 'strng' }", "(known: string, text, "),
        ("[me.fields]\nname = { type = 'string' }", "'me'"),
        ("", "at least one entity"),
    ],
)
def test_a_bad_file_says_where(cli: Cli, file: Path, text: str, line: str) -> None:
    file.write_text(text, "utf-8")
    assert line in cli("entity", "apply", "--brand", "shop", str(file)).error


def test_a_file_that_is_no_text_is_refused(cli: Cli, file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    assert "UTF-8" in cli("entity", "apply", "--brand", "shop", str(file)).error
    assert cli("entity", "apply", "--brand", "shop", "missing.toml").exit_code == 2


def test_a_deletion_is_shown_before_it_is_done(cli: Cli, file: Path) -> None:
    cli.json("entity", "apply", "--brand", "shop", str(file))
    cli.json("api-key", "create", "--brand", "shop", "--name", "k", "--permission", "customer:read")
    delete = ("entity", "delete", "--brand", "shop", "customer")
    step = {"entity": "customer", "records": 0, "roles": 0, "users": 0, "api_keys": 1, "default_permissions": 0}
    assert cli.json(*delete, "--dry-run") == {"applied": False, "steps": [step]}
    assert "nothing was deleted" in cli(*delete, "--dry-run").out
    assert len(cli.json("entity", "list", "--brand", "shop")) == 1
    assert cli.json(*delete) == {"applied": True, "steps": [step]}
    assert cli.json("entity", "list", "--brand", "shop") == []
    assert cli.json("api-key", "list", "--brand", "shop")[0]["permissions"] == []
    assert cli(*delete).error == "There is no entity 'customer'."


def test_a_permission_that_names_no_entity_is_refused(cli: Cli, file: Path) -> None:
    cli.json("entity", "apply", "--brand", "shop", str(file))
    wrong = "'custommer:read' names no entity of this brand: did you mean 'customer:read'?"
    key = ("api-key", "create", "--brand", "shop", "--name", "k", "--permission", "custommer:read")
    user = ("user", "create", "--brand", "shop", "--email", "ann@example.com", "--permission", "custommer:read")
    policy = ("brand", "update", "shop", "--policy", "default_permissions=custommer:read")
    for words in (key, user, policy):
        assert cli(*words).error.endswith(wrong)
