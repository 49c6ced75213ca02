"""A lock that a forked process finds open, whoever held it in its parent."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from weakref import WeakSet


class ForkLock:
    """As ``threading.Lock``. The thread that held it when the process was forked does not exist in the child, and would
    never let go of it there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _EVERY.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


_EVERY: WeakSet[ForkLock] = WeakSet()


def _open_in_child() -> None:
    for lock in list(_EVERY):
        lock._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_in_child)
