"""Who waits for a hash, and who is sent away: a bounded queue with fair shares (security §6).

While everybody in the queue is of one address prefix (or of one brand), it may use the whole queue. As
soon as another one waits, 25 % is for one prefix and 50 % for one brand: who comes above that is sent
away, and a full queue makes room for a newcomer by sending away the newest of whoever holds more than its
share.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar


class Share(NamedTuple):
    """On whose account a hash is."""

    brand_id: str
    address_prefix: str


class Waiting(Protocol):
    """Something in the queue. Without a share it is on nobody's account and no share limits it."""

    @property
    def share(self) -> Share | None: ...


W = TypeVar("W", bound=Waiting)


class HashQueue(Generic[W]):
    """First in, first out. Not safe for threads by itself: its owner holds a lock."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._limits = (max(1, size // 4), max(1, size // 2))
        self._waiting: deque[W] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, newcomer: W) -> W | None:
        """Let ``newcomer`` wait; returns who is sent away for it, if need be the newcomer itself."""
        places = _places([*self._waiting, newcomer])
        if self._holds_too_much(newcomer, places):
            return newcomer
        sent_away = None
        if len(self._waiting) >= self._size:
            greedy = (job for job in reversed(self._waiting) if self._holds_too_much(job, places))
            sent_away = next(greedy, None)
            if sent_away is None:
                return newcomer
            self._waiting.remove(sent_away)
        self._waiting.append(newcomer)
        return sent_away

    def take(self) -> W | None:
        """Whoever has waited longest, or None."""
        return self._waiting.popleft() if self._waiting else None

    def withdraw(self, job: W) -> bool:
        """Take ``job`` out; False when it waits no more."""
        try:
            self._waiting.remove(job)
        except ValueError:
            return False
        return True

    def empty(self) -> list[W]:
        """Take all out."""
        everyone = list(self._waiting)
        self._waiting.clear()
        return everyone

    def _holds_too_much(self, job: W, places: list[Counter[str | None]]) -> bool:
        """Whether an account of ``job`` has more places than its share while another one waits."""
        if job.share is None:
            return False
        pairs = zip(_accounts(job.share), places, self._limits, strict=True)
        return any(limit < held[account] < held.total() for account, held, limit in pairs)


def _accounts(share: Share) -> tuple[str, str]:
    return share.address_prefix, share.brand_id


def _places(everyone: Sequence[Waiting]) -> list[Counter[str | None]]:
    """How many places each address prefix has, and each brand; those on nobody's account are under None."""
    accounts = [_accounts(job.share) if job.share else (None, None) for job in everyone]
    return [Counter(column) for column in zip(*accounts, strict=True)]
