"""What a forked process must not take over from its parent: locks that threads held, and work that they had under way.

None of those threads exists in the child, where nobody else would let go of their locks or end their work.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Begins(Protocol):
    """Something with a beginning to which it can be put back."""

    def _begin(self) -> None: ...


_EVERY: WeakSet[Begins] = WeakSet()


def begin_here_and_after_fork(one: Begins) -> None:
    """Has it begin now, and again in each process that is forked from this one while it exists."""
    one._begin()
    _EVERY.add(one)


def _begin_in_child() -> None:
    for one in list(_EVERY):
        one._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
