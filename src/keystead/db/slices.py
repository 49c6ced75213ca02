"""Long work in slices: the writer is held for a few milliseconds at a time, and let go between them.

SQLite has one writer for the whole installation. How many rows fit into a slice depends on the machine, the disk and
what hangs on a row, so it is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from keystead.db.interface import Database, Tx

LONGEST_SLICE = 0.020
"""Seconds that one slice may hold the writer."""
_AIM = LONGEST_SLICE / 2
_LEAST, _MOST = 4, 500
_REMEMBERED = 0.75


class SliceSize:
    """How many rows the next slice takes, by how long a row took lately."""

    def __init__(self) -> None:
        self.rows = 2 * _LEAST
        self._row_seconds = 0.0

    def note(self, seconds: float) -> None:
        """Adapt to ``seconds`` without the COMMIT: towards half of the longest slice, at most twice the last size.

        What a COMMIT takes by itself, on a slow disk, does not depend on the rows. Slow rows are remembered for a few
        slices, so that the next ones of their kind do not meet a slice that has grown meanwhile.
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
    """Runs ``step``, in a transaction each time, until it finds nothing or ``seconds`` are over; returns its sum.

    ``step`` takes the number of rows to work on and returns how many it found. After each slice the writer is free for
    as long as the slice took, so that other processes, which poll for it, get it too.
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
