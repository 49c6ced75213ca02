"""A lock that a forked process finds open, whoever held it in its parent."""

from __future__ import annotations

import threading
from types import TracebackType

from keystead_client.forks import begin_here_and_after_fork


class ForkLock:
    """As ``threading.RLock``: the thread that holds it may take it again, in a signal's handler for example.

    The thread that held it when another forked the process does not exist in the child, and would never let go of it
    there. The one that forked goes on in the child, and so holds what it held.
    """

    def __init__(self) -> None:
        begin_here_and_after_fork(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _begin(self) -> None:
        lock: threading.RLock | None = getattr(self, "_lock", None)
        if lock is not None and lock.acquire(blocking=False):
            # Free, or of this very thread, which lets go of what it has taken.
            lock.release()
            return
        self._lock = threading.RLock()
