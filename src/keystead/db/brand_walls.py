"""A statement on a table of many brands does not compile unless it is bound to one (security.md §14)."""

from __future__ import annotations

from typing import Any


class UnboundBrand(TypeError):
    """A branded table is read, changed or filled without ``brand_id = :parameter`` ANDed to it."""


def require_brand(expression: Any) -> None:
    """Raises UnboundBrand."""
