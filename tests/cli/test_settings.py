"""Whatever stands in the way of a command is one line that names it, and an exit code."""

from __future__ import annotations

import pytest

from tests.cli.command import MASTER_KEY, Cli


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
        ({"KEYSTEAD_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"}, 78, "KEYSTEAD_MASTER_KEY: required"),
        (
            {"KEYSTEAD_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x", "KEYSTEAD_MASTER_KEY": MASTER_KEY},
            1,
            "Cannot reach PostgreSQL at 127.0.0.1:1",
        ),
    ],
)
def test_what_stands_in_the_way_is_one_line(
    sqlite_cli: Cli, settings: dict[str, str], exit_code: int, line: str
) -> None:
    sqlite_cli.settings |= settings
    said = sqlite_cli("brand", "list", "--json")
    assert said.exit_code == exit_code
    assert line in said.error
    assert "secret" not in said.err
