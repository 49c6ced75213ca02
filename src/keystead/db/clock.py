"""One clock for all nodes: the database's (security §5).

Each process measures its offset to the database's clock at start and every 30 s, and adds it to the time that has
elapsed on its own machine. Wall clocks that are wrong, or that are set while the server runs, therefore change
nothing. What must not depend on the measurement either (sweeping, key rotation) reads the database's time in its own
transaction: :func:`time_in`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.compiler import compiles

from keystead.clock import Clock, SystemClock, elapsed
from keystead.db.interface import Database, Tx
from keystead.db.statements import Statement
from keystead.db.types import UtcTime

MEASURE_SECONDS: Final = 30.0
GOOD_FOR_SECONDS: Final = 100.0
"""How long a measurement is relied on for sweeping and key rotation: three that fail, and a little."""
SAMPLES: Final = 3
RESOLUTION: Final = 0.001
"""SQLite's clock has whole milliseconds, cut off."""


class DatabaseClock:
    """The database's time, without asking the database for it.

    Until the first measurement it is the ``machine``'s time.
    """

    def __init__(self, machine: Clock | None = None, elapsed: Callable[[], float] = elapsed) -> None:
        self._machine = machine or SystemClock()
        self._elapsed = elapsed
        self._offset = self._machine.now().timestamp() - elapsed()
        self._measured_at: float | None = None

    def now(self) -> datetime:
        """The current instant by the database's clock, aware, in UTC."""
        return datetime.fromtimestamp(self._offset + self._elapsed(), UTC)

    @property
    def is_measured(self) -> bool:
        """Whether the last measurement is recent enough to remove rows and to make keys by it."""
        return self._measured_at is not None and self._elapsed() - self._measured_at < GOOD_FOR_SECONDS

    async def measure(self, db: Database) -> timedelta:
        """Compare with the database's clock; returns by how much that one is ahead of the machine's wall clock.

        The database reads its clock somewhere between the question and the answer, which bounds the offset on both
        sides. The narrowest of three bounds counts, and the offset moves no further than it must to lie within: time
        does not jump to and fro with the network's latency.

        :raises KeysteadError: as the database does, when it does not answer. The offset then stays as it was.
        """
        low, high = min([await self._bounds(db) for _ in range(SAMPLES)], key=lambda bounds: bounds[1] - bounds[0])
        self._offset = (low + high) / 2 if self._measured_at is None else min(max(self._offset, low), high)
        self._measured_at = self._elapsed()
        return self.now() - self._machine.now()

    async def _bounds(self, db: Database) -> tuple[float, float]:
        before = self._elapsed()
        theirs = (await db.now()).timestamp()
        return theirs - self._elapsed(), theirs + RESOLUTION - before


class _DatabaseTime(ColumnElement[datetime]):
    """The database's time at this statement, not at the beginning of its transaction."""

    inherit_cache = True
    type = UtcTime()


@compiles(_DatabaseTime, "postgresql")
def _on_postgresql(element: _DatabaseTime, compiler: Any, **_: Any) -> str:
    return "clock_timestamp()"


@compiles(_DatabaseTime, "sqlite")
def _on_sqlite(element: _DatabaseTime, compiler: Any, **_: Any) -> str:
    return "strftime('%Y-%m-%dT%H:%M:%f000Z')"


_READ = Statement(select(_DatabaseTime()), unbranded="the time belongs to no brand")


async def time_in(tx: Tx, clock: Clock) -> datetime:
    """The database's time, read in the transaction ``tx``, for what removes rows or makes keys by it.

    A ``clock`` that does not follow the database's (a test's) is authoritative itself.
    """
    if not isinstance(clock, DatabaseClock):
        return clock.now()
    row = await tx.find(_READ)
    if row is None:  # pragma: no cover - a SELECT without FROM has one row
        raise AssertionError("the database did not say what time it is")
    now: datetime = row[0]
    return now
