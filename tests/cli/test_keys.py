"""``keystead keys``."""

from __future__ import annotations

import pytest

from tests.cli.command import Cli


def test_the_first_key_is_there(cli: Cli) -> None:
    assert [key["state"] for key in cli.json("keys", "list")] == ["active"]


def test_a_rotation_takes_over_later(cli: Cli) -> None:
    made = cli.json("keys", "rotate")
    assert made["state"] == "next"
    assert [key["state"] for key in cli.json("keys", "list")] == ["active", "next"]
    assert "waiting" in cli("keys", "rotate").error


def test_a_revoked_key_is_replaced_at_once(cli: Cli) -> None:
    [first] = cli.json("keys", "list")
    assert cli.json("keys", "revoke", first["kid"]) == {"success": True, "kid": first["kid"]}
    states = {key["kid"]: key["state"] for key in cli.json("keys", "list")}
    assert states.pop(first["kid"]) == "retired"
    assert list(states.values()) == ["active"]


@pytest.mark.parametrize("kid", ["nothing", "-InnDSVZHIs2GN2_9rqMzWma5scI80lWY_yPk69a4cw", "--jsonVZHIs2GN2_9rqMzWma5"])
def test_an_unknown_key_is_not_revoked(cli: Cli, kid: str) -> None:
    """An id is base64url: it may begin with hyphens, and is no option then."""
    assert "no signing key" in cli("keys", "revoke", kid).error


def test_people_get_a_table(cli: Cli) -> None:
    assert "active" in cli("keys", "list").out
    assert "takes over at" in cli("keys", "rotate").out
