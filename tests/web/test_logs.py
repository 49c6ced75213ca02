"""Log lines for people."""

from __future__ import annotations

from io import StringIO

import pytest

from keystead.web.logs import for_people


class Screen(StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "is_coloured"), [(Screen(), True), (StringIO(), False)])
def test_there_is_colour_on_a_terminal_alone(stream: StringIO, is_coloured: bool) -> None:
    line = for_people(stream)(None, "info", {"event": "mail_given_up", "level": "warning", "kind": "verify_email"})
    assert "mail_given_up" in line
    assert ("\x1b" in line) == is_coloured
