"""Output of commands: the result on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec


def print_document(document: Any) -> None:
    """Print the JSON document of ``--json``."""
    print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode("utf-8"), flush=True)


def print_lines(*lines: str) -> None:
    """Print the result as text."""
    for line in lines:
        print(line, flush=True)


def note(line: str) -> None:
    """Print a note, warning or error on stderr."""
    print(line, file=sys.stderr, flush=True)


def print_list(items: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """Print a list: with ``--json`` as an array of complete objects, else as a table of ``columns``."""
    if as_json:
        print_document(items)
    elif items:
        print_table(items, columns)
    else:
        note(empty)


def print_table(items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print a table of ``columns``, one line per item; wide enough for complete ids if stdout is not a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console() if sys.stdout.isatty() else Console(width=240, no_color=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for item in items:
        table.add_row(*(Text(_cell(item[column])) for column in columns))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    text = value if isinstance(value, str | int | float) else " ".join(value)
    # Stored text is untrusted: it must not contain escape sequences for the terminal.
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in str(text))


def list_names(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
