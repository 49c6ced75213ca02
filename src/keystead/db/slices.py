"""Run long work in small batches (slices), each holding the writer for a few milliseconds only.

SQLite has one writer for the whole installation. The batch size adapts to the time that rows take, which depends on the
machine, the disk and the rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from keystead.db.interface import Database, Tx

LONGEST_SLICE = 0.020
"""Seconds that a slice may hold the writer."""
_AIM = LONGEST_SLICE / 2
_LEAST, _MOST = 4, 500
_REMEMBERED = 0.75


class SliceSize:
    """The number of rows of the next slice, adapted to the recent time per row."""

    def __init__(self) -> None:
        self.rows = 2 * _LEAST
        self._row_seconds = 0.0

    def note(self, seconds: float) -> None:
        """Adapt to ``seconds`` without the COMMIT: towards half of the longest slice, at most twice the last size.

        The time of a COMMIT on a slow disk does not depend on the rows. Slow rows are remembered for a few slices, so
        that the size does not grow too soon.
        """
        self._row_seconds = max(seconds / self.rows, _REMEMBERED * self._row_seconds)
        fitting = int(_AIM / max(self._row_seconds, 1e-9))
        self.rows = max(_LEAST, min(fitting, self.rows * 2, _MOST))


async def run_in_slices(
    database: Database,
    step: Callable[[Tx, int], Awaitable[int]],
    *,
    seconds: float,
    timer: Callable[[], float] = time.perf_counter,
    rest: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> int:
    """Run ``step`` in one transaction after another until it finds nothing or ``seconds`` are over; returns the total.

    ``step`` takes the number of rows to work on and returns how many it found. After each slice the writer is left free
    for as long as the slice took, so that other processes, which poll for it, get their turn.
    """
    size, done, end = SliceSize(), 0, timer() + seconds
    while timer() < end:
        async with database.transaction() as tx:
            started = timer()
            found = await step(tx, size.rows)
            size.note(timer() - started)
        if not found:
            break
        done += found
        await rest(timer() - started)
    return done
