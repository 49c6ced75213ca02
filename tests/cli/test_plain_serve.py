"""``keystead serve`` without typer: understood in its plain forms, and otherwise left to typer."""

from __future__ import annotations

from typing import Any

import pytest

from keystead.cli.serve import parse_plainly


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("serve", {}),
        ("serve --port 8080", {"port": 8080}),
        ("serve --port=8080 --host=::", {"port": 8080, "host": "::"}),
        ("serve --workers 2 --json", {"workers": 2, "as_json": True}),
        ("serve --host 0.0.0.0 --host ::1", {"host": "::1"}),
    ],
)
def test_plain_forms(words: str, given: dict[str, Any]) -> None:
    assert parse_plainly(words.split()) == given


@pytest.mark.parametrize(
    "words",
    [
        "", "brand list", "--help", "serve --help", "serve -h", "serve 8080", "serve --port", "serve --port x",
        "serve --port 0", "serve --port 65536", "serve --port=", "serve --workers -1", "serve --workers 257",
        "serve --host", "serve --host=", "serve --prot 1", "serve --port ٣", "serve --json=1",
    ],
)  # fmt: skip
def test_anything_else_is_left_to_typer(words: str) -> None:
    assert parse_plainly(words.split()) is None
