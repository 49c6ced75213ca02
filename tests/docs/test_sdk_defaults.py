"""docs/sdk.md says what is selected where nothing is said, as the code does."""

from __future__ import annotations

import re

from keystead_client import Client
from keystead_client.async_client import ME, ClientOptions
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


def test_the_help_of_a_client_names_each_option() -> None:
    """What an editor shows of ``**options`` is no more than that."""
    explained = re.findall(r":param (\w+):", Client.__doc__ or "")
    assert sorted(explained) == sorted({"endpoint", "transport", *ClientOptions.__annotations__})


def test_the_page_names_each_option() -> None:
    program = page("sdk.md").split("## A program")[1].split("\n## ")[0]
    assert [option for option in ClientOptions.__annotations__ if f"`{option}=" not in program] == []
