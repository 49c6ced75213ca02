"""References resolve: sections of the contract and of the security page, attack cases, decisions."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.house_rules.source import DOCS, ROOT, page

SECTION = re.compile(r"(contract|security)(?:\.md)? (§\d+(?:(?:,| and)\s+§\d+)*)(?:, item (\d+))?", re.I)
CASE = re.compile(r"\bA\d{2,3}\b")
DECISION = re.compile(r"decisions?[ /](\d{4})\b")
PLACES = "*.md src sdk/src tests docs examples benchmarks".split()
KINDS = {".py", ".md", ".graphql", ".toml"}


@cache
def texts() -> dict[str, str]:
    """Everything that refers to something, by its path."""
    paths = [path for place in PLACES for root in sorted(ROOT.glob(place)) for path in (root, *sorted(root.rglob("*")))]
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in paths if path.suffix in KINDS}


@cache
def sections(name: str) -> dict[int, str]:
    """The numbered sections of a page with their text."""
    parts = re.split(r"^## (\d+)\. ", page(name), flags=re.MULTILINE)[1:]
    return {int(number): text for number, text in zip(parts[::2], parts[1::2], strict=True)}


@cache
def cases() -> frozenset[str]:
    """The ids of the attack catalogue."""
    return frozenset(re.findall(r"^\| (A\d+)", page("attacks.md"), re.MULTILINE))


@pytest.mark.parametrize("name", ["contract.md", "security.md"])
def test_sections_are_numbered_without_a_gap(name: str) -> None:
    assert list(sections(name)) == list(range(1, len(sections(name)) + 1))


def test_every_reference_to_a_section_resolves() -> None:
    found, broken = 0, []
    for path, text in texts().items():
        for match in SECTION.finditer(text):
            found += 1
            known = sections(f"{match[1].lower()}.md")
            numbers = [int(number) for number in re.findall(r"\d+", match[2])]
            has_item = match[3] is None or f"\n{match[3]}. " in known.get(numbers[-1], "")
            if not has_item or not known.keys() >= set(numbers):
                broken.append(f"{path}: {match.group()}")
    assert found > 50
    assert broken == []


def test_no_reference_names_a_section_in_another_form() -> None:
    loose = re.compile(r"(contract|security)\.md,? (section|§|item)", re.I)
    assert [path for path, text in texts().items() if loose.search(text) and "house_rules" not in path] == []


def test_every_attack_case_that_is_named_exists() -> None:
    named = {(path, case) for path, text in texts().items() for case in CASE.findall(text) if path != "docs/attacks.md"}
    assert sorted(f"{path}: {case}" for path, case in named if case not in cases()) == []


def test_every_decision_that_is_named_exists() -> None:
    numbers = {path.name[:4] for path in (DOCS / "decisions").glob("0*.md")}
    broken = [f"{path}: {n}" for path, text in texts().items() for n in DECISION.findall(text) if n not in numbers]
    assert broken == []
