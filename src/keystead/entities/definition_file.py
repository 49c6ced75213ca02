"""Reads the text of a definition file (TOML 1.0) into the JSON form that ``defineEntity`` takes. Contract §5."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time
from typing import Any

from keystead.errors import BadUserInput

LARGEST_FILE = 1 << 20
"""Characters."""


def parse_file(text: str) -> dict[str, Any]:
    """The definition in ``text``; days and times become ISO 8601 texts, as JSON has none.

    :raises BadUserInput: when it is no TOML; the message says where.
    """
    if len(text) > LARGEST_FILE:
        raise BadUserInput("The definition file is larger than 1 MiB.", field="definition")
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadUserInput(f"The definition file is not valid TOML: {error}", field="definition") from None
    plain: dict[str, Any] = _plain(document)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return value
