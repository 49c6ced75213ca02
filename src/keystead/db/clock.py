"""One clock for all nodes: the database's (security §5).

Each process measures its offset to the database's clock at start and every 30 s, and adds it to its monotonic time:
wall clocks that are wrong or set while the server runs have no effect. Sweeping and key rotation do not rely on the
measurement but read the database's time in their transaction: :func:`time_in`.
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
"""How long a measurement is valid for sweeping and key rotation: three that fail, and a margin."""
SAMPLES: Final = 3
RESOLUTION: Final = 0.001
"""SQLite's clock is truncated to milliseconds."""


class DatabaseClock:
    """The database's time, estimated without a query.

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
        """Whether the last measurement is recent enough for deleting rows and creating keys."""
        return self._measured_at is not None and self._elapsed() - self._measured_at < GOOD_FOR_SECONDS

    async def measure(self, db: Database) -> timedelta:
        """Measure the offset; returns how far the database's clock is ahead of the machine's wall clock.

        The database reads its clock between query and answer, which bounds the offset on both sides. Of three bounds
        the narrowest is used, and the offset changes no more than needed to lie within: time does not jitter with
        latency.

        :raises KeysteadError: as the database does, when it does not answer. The offset then stays unchanged.
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
    """The database's time at the statement, not at the start of its transaction."""

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
    """The database's time, read in the transaction ``tx``, for deleting rows and creating keys.

    With a ``clock`` other than ``DatabaseClock`` (in tests), the time of that clock.
    """
    if not isinstance(clock, DatabaseClock):
        return clock.now()
    row = await tx.find(_READ)
    if row is None:  # pragma: no cover - a SELECT without FROM has one row
        raise AssertionError("the database did not say what time it is")
    now: datetime = row[0]
    return now
