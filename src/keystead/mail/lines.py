"""Text from elsewhere on one line: what a mail server says, for operators."""

from __future__ import annotations


def printable_line(text: str) -> str:
    """``text`` on one line, nothing in it but what can be seen, and single spaces."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
