"""How a server that hangs is told from one that had a slow moment."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from keystead_client._transport import PoolTimeout
from keystead_client.errors import KeysteadError, Timeout
from keystead_client.forks import begin_here_and_after_fork

SILENCE: Final = 3
"""Questions left unanswered, one after another, that are called a server that hangs. One alone may be a slow moment,
which must not send others away; those that were under way together are one, for the same reason."""
PASSES: Final = 60.0
"""Seconds after which a question that was left unanswered says nothing any more of the server."""
PAUSE: Final = 1.0
"""Seconds for which nothing is asked of a server that hangs."""


class Silence:
    """Begins with so many questions in a row without an answer, and ends with a success, or by itself after a while.

    A refusal is an answer, too, and interrupts the row; but not where an older question still waits, and it does not
    end the silence: made-up tokens are refused at once, as often as somebody likes, by a server whose storage hangs.
    Safe to share between tasks and threads.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        begin_here_and_after_fork(self)

    @property
    def has_begun(self) -> bool:
        """Whether the server is one that hangs."""
        return self._unanswered >= SILENCE and self._is_within(PASSES)

    @property
    def is_in_pause(self) -> bool:
        """Whether the last question was left unanswered so shortly ago that none is asked."""
        return self._is_within(PAUSE)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Around each question: notes what comes of it."""
        question = next(self._numbers)
        row = self._row
        self._under_way[question] = None
        try:
            yield
            self.end()
        except PoolTimeout:
            # Nothing was asked.
            raise
        except Timeout:
            self._note_timeout(row)
            raise
        except KeysteadError:
            self._note_refusal(question)
            raise
        finally:
            # Without the lock: a task that is dropped may come here in the middle of anything.
            self._under_way.pop(question, None)

    def end(self) -> None:
        """There was a success."""
        with self._lock:
            self._unanswered = 0

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._unanswered = 0
        self._last_at = 0.0
        self._row = 0
        self._numbers = itertools.count()
        self._under_way: dict[int, None] = {}

    def _is_within(self, seconds: float) -> bool:
        # A clock that was put back ends it.
        return 0 <= self._clock() - self._last_at < seconds

    def _note_timeout(self, row: int) -> None:
        with self._lock:
            if not self._is_within(PASSES):
                self._unanswered = 0
            # Asked before the last one was counted, it is of the same moment.
            if row == self._row or self._unanswered == 0:
                self._unanswered += 1
                self._row += 1
            self._last_at = self._clock()

    def _note_refusal(self, question: int) -> None:
        with self._lock:
            if self._unanswered < SILENCE and question == min(tuple(self._under_way), default=question):
                self._unanswered = 0
