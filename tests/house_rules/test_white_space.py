"""Header values lose the white space of HTTP, space and tab (RFC 9110 §5.6.3, RFC 6265 §5.2), never Unicode's."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.house_rules.source import Module, modules, place

READERS_OF_HEADERS = (
    Path("sdk/src/keystead_client"),
    Path("src/keystead/authentication"),
    Path("src/keystead/mail/request_headers.py"),
    Path("src/keystead/web"),
)
"""Where header values are read: as Latin-1 text, in which \\x85 and \\xa0 are white space to ``str.strip()``."""

OF_UNICODE = {"strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "isspace"}
"""Methods that cut at Unicode's white space where they are given no characters."""

EXCEPTIONS: dict[str, str] = {}
"""``path: method``, and why it sees no header."""


def _calls(module: Module) -> list[str]:
    return [
        f"{place(module, node)} {node.func.attr}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in OF_UNICODE
        and not node.args
        and f"{module.path}: {node.func.attr}" not in EXCEPTIONS
    ]


def test_who_reads_headers_names_the_white_space_that_goes() -> None:
    read = [
        module
        for folder in ("src", "sdk/src")
        for module in modules(folder)
        if any(module.path.is_relative_to(one) for one in READERS_OF_HEADERS)
    ]
    assert len(read) > 60
    assert [call for module in read for call in _calls(module)] == []
