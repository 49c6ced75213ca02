"""A lock that a forked process finds open, whoever held it in its parent."""

from __future__ import annotations

import threading
from types import TracebackType

from keystead_client.forks import begin_here_and_after_fork


class ForkLock:
    """As ``threading.Lock``. The thread that held it when the process was forked does not exist in the child, and would
    never let go of it there."""

    def __init__(self) -> None:
        begin_here_and_after_fork(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _begin(self) -> None:
        self._lock = threading.Lock()
