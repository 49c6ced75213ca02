"""Tokens that were found good: a bounded memory that holds no token."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from keystead_client.forks import begin_here_and_after_fork


class Remembered:
    """The digests of at most ``most`` tokens, least recently used out first, and when each was added.

    Safe to share between threads; a forked process begins with nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        begin_here_and_after_fork(self)

    def __contains__(self, token: str) -> bool:
        return self.added_at(token) is not None

    def added_at(self, token: str) -> float | None:
        """When the token was added last, None if it is not known."""
        key = digest(token)
        with self._lock:
            if key not in self._times:
                return None
            self._times.move_to_end(key)
            return self._times[key]

    def add(self, token: str, now: float = 0.0) -> None:
        """Remembers the token; ``now`` is what :meth:`added_at` will say."""
        key = digest(token)
        with self._lock:
            self._times[key] = now
            self._times.move_to_end(key)
            if len(self._times) > self._most:
                self._times.popitem(last=False)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._times: OrderedDict[bytes, float] = OrderedDict()


def digest(token: str) -> bytes:
    """What is kept in the place of a token."""
    return hashlib.sha256(token.encode()).digest()
