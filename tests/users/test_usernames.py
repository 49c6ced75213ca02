"""What may be a username."""

from __future__ import annotations

import pytest

from keystead.errors import BadUserInput
from keystead.users.model import parse_username


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("  Ann \u00a0", "Ann"),
        ("Ann Bo", "Ann Bo"),
        ("Jo\u0308rg", "Jörg"),
        ("x" * 100, "x" * 100),
        ("e\u0301" * 100, "é" * 100),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_a_name_is_kept_without_the_space_around_it(raw: str, name: str) -> None:
    assert parse_username(raw) == name


@pytest.mark.parametrize(
    "raw",
    ["", "  ", "x" * 101, "\u0327\u0301" * 30_000, "a\nb", "\tAnn", "a\0b", "a\x1bb", "a\u2028b", "a\u202eb", "\ud800"],
)
def test_control_characters_and_bad_lengths_are_refused(raw: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        parse_username(raw, field="username")
    assert refused.value.extensions == {"field": "username"}
