"""Copies of constant values, so that a resolver which changes its arguments changes nothing that is shared."""

from __future__ import annotations

from typing import Any


def fresh(value: Any) -> Any:
    """The value with its dicts and lists copied; other values are immutable."""
    if isinstance(value, dict):
        return {name: fresh(member) for name, member in value.items()}
    if isinstance(value, list):
        return [fresh(member) for member in value]
    return value
