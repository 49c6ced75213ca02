"""The machine's clocks: the only source of time in the process. Instants are aware UTC ``datetime`` values.

A server does not judge by the machine's wall clock but by the database's, which all nodes share:
``keystead.db.clock.DatabaseClock``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of the current time. Tests use one that they set."""

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
        """Seconds since the machine started, the time in which it was suspended included.

        Steps of the wall clock (NTP, an administrator) do not show.
        """
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover - not Linux
    elapsed = time.monotonic
