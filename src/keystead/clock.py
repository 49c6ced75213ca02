"""The machine's clocks: the only source of time in the process. Instants are aware UTC ``datetime`` values.

A server uses the database's clock, which all nodes share: ``keystead.db.clock.DatabaseClock``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of the current time; tests set theirs."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        return datetime.now(UTC)


if hasattr(time, "CLOCK_BOOTTIME"):

    def elapsed() -> float:
        """Seconds since boot, including suspension; monotonic, unaffected by changes of the wall clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover - not Linux
    elapsed = time.monotonic
