"""How much the tests try: ``make test FULL=1`` runs all tests on both databases, and random ones at full length."""

from __future__ import annotations

import os

IS_FULL = bool(os.environ.get("KEYSTEAD_TEST_FULL"))


def repeats(full: int) -> int:
    """How many random cases to try: ``full`` of them, otherwise a fifth."""
    return full if IS_FULL else full // 5
