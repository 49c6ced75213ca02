"""A bound on how much of one kind is under way at once: whoever comes when all places are taken is told so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from keystead_client.forks import begin_here_and_after_fork

LENT: Final = 30.0
"""Seconds after which a place is free again though nobody has given it back: an event loop that was stopped with work
under way never does."""


class Places:
    """Shared by threads and event loops. A process that was forked begins with all places free."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        begin_here_and_after_fork(self)

    @contextmanager
    def one_of(self, most: int, whose: str | None = None, each: int | None = None) -> Iterator[bool]:
        """Whether there is a place, ``most`` of them being there, ``each`` of these for one and the same ``whose``.

        Where it is not known whose, ``most`` is the only bound. The place is given back at the end.
        """
        place = self._take(most, whose, each)
        try:
            yield place is not None
        finally:
            # Without the lock: garbage collection may drop a login while this very thread holds it.
            self._taken.pop(place, None)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[object, tuple[float, str | None]] = {}

    def _take(self, most: int, whose: str | None, each: int | None) -> object | None:
        with self._lock:
            now = self._clock()
            # A clock that was put back must not keep a place taken for longer.
            for place, (since, _) in list(self._taken.items()):
                if not 0 <= now - since < LENT:
                    self._taken.pop(place, None)
            of_one = [owner for _, owner in list(self._taken.values()) if owner == whose]
            is_one_too_many = whose is not None and each is not None and len(of_one) >= each
            if len(self._taken) >= most or is_one_too_many:
                return None
            mine = object()
            self._taken[mine] = (now, whose)
            return mine
