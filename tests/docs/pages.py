"""Reads a page of the documentation that can be executed: blocks of commands, each followed by what they answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUN = "bash"
RUN_BESIDE = "bash server"
ANSWERS = ("text", "json")
ANYTHING = "…"
_FENCE = re.compile(r"^```(\w[\w ]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of commands, and the answer printed below it (None where the page shows none)."""

    line: int
    commands: str
    answer: str | None
    is_server: bool


def read_blocks(page: Path, port: int) -> Iterator[Block]:
    """The blocks of a page, in order, with another ``port`` than 4000."""
    text = page.read_text("utf-8").replace("4000", str(port))
    fences = list(_FENCE.finditer(text))
    for fence, following in zip(fences, [*fences[1:], None], strict=True):
        kind, commands = fence.groups()
        if kind not in (RUN, RUN_BESIDE):
            continue
        is_answered = following is not None and following.group(1) in ANSWERS
        answer = following.group(2) if following is not None and is_answered else None
        yield Block(text.count("\n", 0, fence.start()) + 1, commands, answer, kind == RUN_BESIDE)


def agrees(said: str, printed: str) -> bool:
    """Whether a terminal said what is printed. Space and the rules of tables do not count, ``…`` is anything."""
    pattern = ".*?".join(re.escape(part) for part in _plain(printed).split(ANYTHING))
    return re.fullmatch(pattern, _plain(said)) is not None


def _plain(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line.strip("─ "))
