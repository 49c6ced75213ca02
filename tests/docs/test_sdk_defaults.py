"""docs/sdk.md says what is selected where nothing is said, as the code does."""

from __future__ import annotations

import re

from keystead_client.connection import ME
from keystead_client.entities import SYSTEM_FIELDS
from tests.house_rules.source import page


def named_after(text: str, words: str, until: str) -> tuple[str, ...]:
    """The names in backquotes between these words and ``until``."""
    found = re.search(re.escape(words) + f"(.*?){re.escape(until)}", text, re.DOTALL)
    assert found, words
    return tuple(re.findall(r"`(\w+)`", found[1]))


def test_the_fields_of_the_user() -> None:
    (row,) = re.findall(r"^\| `me\(select=\.\.\.\)` \|.*$", page("sdk.md"), re.MULTILINE)
    assert named_after(row, "Without `select`:", "There is also") == ME


def test_the_fields_of_a_record() -> None:
    assert named_after(page("sdk.md"), "Without `select` you get", ", also from") == SYSTEM_FIELDS
