"""The trade's words: what CONTRIBUTING.md asks of names, docstrings, comments, messages and docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.house_rules.source import ROOT

REFUSED = [
    *("nobody", "whoever", "somebody", "anew", "thereupon", "whereof", "of its own", "is told", "goes on", "felt"),
    "at once",  # "immediately" or "concurrently"
]
# Also as a part of a name: test_nobody_logs_in.
PATTERN = re.compile(
    r"(?<![A-Za-z])(?:{})(?![A-Za-z])".format("|".join(w.replace(" ", r"[ _\n]+(?:# )?") for w in REFUSED)), re.I
)

PLACES = "*.md src sdk/src sdk/README.md tests docs examples benchmarks".split()
KINDS = {".py", ".md", ".graphql", ".html", ".txt", ".toml"}

# Line by its end, with the reason.
EXCEPTIONS = {
    "CONTRIBUTING.md": "the table of words",
    "tests/house_rules/test_words.py": "the list itself",
    "src/keystead/crypto/common_passwords.txt": "a list of passwords",
}

PENDING: tuple[str, ...] = ("tests/attacks",)
"""Places that have not had their pass yet."""


def files() -> Iterator[Path]:
    for place in PLACES:
        for path in sorted(ROOT.glob(place)):
            yield from [path] if path.is_file() else (file for file in sorted(path.rglob("*")) if file.suffix in KINDS)


def is_pending(name: str) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in PENDING)


def test_no_refused_word_is_used() -> None:
    found = []
    for path in files():
        name = str(path.relative_to(ROOT))
        if name in EXCEPTIONS or is_pending(name):
            continue
        text = path.read_text("utf-8")
        found += [f"{name}:{text.count(chr(10), 0, m.start()) + 1}: {m.group()}" for m in PATTERN.finditer(text)]
    assert found == []


def test_refused_words_are_found_and_others_pass() -> None:
    assert all(map(PATTERN.search, ("Nobody logs in", "test_nobody_logs_in", "it goes\n# on", "of its own")))
    assert not any(map(PATTERN.search, ("Canew", "felty", "at one")))
