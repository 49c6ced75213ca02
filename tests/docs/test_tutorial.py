"""``docs/tutorial.md`` is true: pasted block by block into a terminal, it answers what it says it answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.docs.pages import agrees, read_blocks
from tests.docs.terminal import Terminal
from tests.house_rules.source import DOCS
from tests.postgres_server import free_port

TUTORIAL = DOCS / "tutorial.md"


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[tuple[Terminal, Terminal]]:
    """Two terminals in one empty folder."""
    assert shutil.which("curl"), "the tutorial needs curl: install it"
    folder = tmp_path / "first-steps"
    folder.mkdir()
    with ExitStack() as stack:
        yield stack.enter_context(closing(Terminal(folder))), stack.enter_context(closing(Terminal(folder)))


def test_every_block_answers_as_printed(terminals: tuple[Terminal, Terminal]) -> None:
    first, second = terminals
    for block in read_blocks(TUTORIAL, free_port()):
        if block.is_server:
            assert block.answer is not None
            second.start(block.commands, block.answer)
            continue
        said = first.run(block.commands)
        where = f"{TUTORIAL.name}, line {block.line}"
        assert agrees(said, block.answer or ""), f"{where}\n--- printed\n{block.answer}\n--- said\n{said}"


def test_the_reader_of_pages_sees_differences() -> None:
    assert agrees('{"id":"017"}', '{"id":"…"}\n')
    assert agrees(" a    b \n ───── \n\nc", "a b\nc\n")
    assert not agrees('{"id":"017","more":1}', '{"id":"…"}')
    assert not agrees("one\ntwo", "…")
    assert not agrees("", "something")
