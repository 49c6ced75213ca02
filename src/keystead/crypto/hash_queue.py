"""Bounded fair-share queue for password hashing: load shedding per address prefix and brand (security §6).

While all waiting jobs are of one address prefix (or one brand), they may fill the queue. Once another one waits, a
prefix has at most 25 % and a brand 50 %: jobs beyond that are rejected, and a full queue admits a new job by evicting
the newest job of a prefix or brand that is over its share.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar


class Share(NamedTuple):
    """The brand and address prefix that a hash counts against."""

    brand_id: str
    address_prefix: str


class Waiting(Protocol):
    """A job in the queue. Without a share it counts against no limit."""

    @property
    def share(self) -> Share | None: ...


W = TypeVar("W", bound=Waiting)


class HashQueue(Generic[W]):
    """First in, first out. Not thread-safe: its owner holds a lock."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._limits = (max(1, size // 4), max(1, size // 2))
        self._waiting: deque[W] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, job: W) -> W | None:
        """Admit ``job``; returns the job that is evicted for it, or ``job`` itself when it is rejected."""
        counts = _counts([*self._waiting, job])
        if self._is_over_share(job, counts):
            return job
        evicted = None
        if len(self._waiting) >= self._size:
            evicted = next((other for other in reversed(self._waiting) if self._is_over_share(other, counts)), None)
            if evicted is None:
                return job
            self._waiting.remove(evicted)
        self._waiting.append(job)
        return evicted

    def take(self) -> W | None:
        """The job that has waited longest, or None."""
        return self._waiting.popleft() if self._waiting else None

    def withdraw(self, job: W) -> bool:
        """Remove ``job``; False when it no longer waits."""
        try:
            self._waiting.remove(job)
        except ValueError:
            return False
        return True

    def clear(self) -> list[W]:
        """Remove and return all jobs."""
        jobs = list(self._waiting)
        self._waiting.clear()
        return jobs

    def _is_over_share(self, job: W, counts: list[Counter[str | None]]) -> bool:
        """Whether the prefix or brand of ``job`` has more jobs than its share while another one waits."""
        if job.share is None:
            return False
        shares = zip(_names(job.share), counts, self._limits, strict=True)
        return any(limit < count[name] < count.total() for name, count, limit in shares)


def _names(share: Share) -> tuple[str, str]:
    return share.address_prefix, share.brand_id


def _counts(jobs: Sequence[Waiting]) -> list[Counter[str | None]]:
    """The number of jobs of each address prefix, and of each brand; jobs without a share are under None."""
    names = [_names(job.share) if job.share else (None, None) for job in jobs]
    return [Counter(column) for column in zip(*names, strict=True)]
