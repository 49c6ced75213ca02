"""Every attack case of ``docs/attacks.md`` is shown by a test that carries its id as a mark."""

from __future__ import annotations

import re

from tests.hostile_tokens import HOSTILE
from tests.house_rules.source import DOCS, ROOT

CASE = re.compile(r"^\| (A\d+)( †)? \|", re.MULTILINE)
MARK = re.compile(r"mark\.attack\(([^)]*)\)")


def shown() -> set[str]:
    """The ids on tests."""
    texts = (path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = {case for text in texts for mark in MARK.findall(text) for case in re.findall(r"A\d+", mark)}
    return named | set(HOSTILE)


def test_every_case_is_shown_and_every_mark_is_a_case() -> None:
    cases = CASE.findall((DOCS / "attacks.md").read_text("utf-8"))
    assert len(cases) > 90
    assert len(cases) == len({case for case, _ in cases})
    built = {case for case, waits in cases if not waits}
    assert sorted(built - shown()) == [], "a case without a test"
    assert sorted(shown() - built) == [], "a mark without a case"
