"""Write-behind for timestamps of last use: collected in memory, written in batches.

Requests that only read never wait for the writer. A crash loses at most the timestamps since the last write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from keystead.db.interface import Database, Tx
from keystead.db.slices import SliceSize

WRITE_SECONDS: Final = 15.0
"""The interval between writes."""
NOTED_AFTER: Final = timedelta(seconds=45)
"""A use is only noted when the stored one is older. With ``WRITE_SECONDS``, timestamps lag at most a minute."""
MOST: Final = 10_000
"""Timestamps in memory, about 3 MB; the oldest one is dropped beyond that."""

AHEAD: Final = timedelta(minutes=1)
"""A timestamp further in the future was written before the clock was set back, and is overwritten."""

Touch = Callable[[Tx, str, str, datetime, datetime], Awaitable[None]]
"""Writes the last use of a row, unless a later one is stored that is not after the last parameter."""


class LastUses:
    """The last use of rows of one table, by brand and id."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._uses: dict[tuple[str, str], datetime] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def note(self, brand_id: str, row_id: str, last: datetime | None, now: datetime) -> None:
        """Note a use, unless the stored one, ``last``, is recent. Never waits and never fails."""
        if last is not None and abs(now - last) < NOTED_AFTER:
            return
        key = (brand_id, row_id)
        if key not in self._uses and len(self._uses) >= self._most:
            del self._uses[next(iter(self._uses))]
        self._uses[key] = now

    async def write(self, database: Database, touch: Touch, now: datetime) -> None:
        """Write the noted uses in order of ids, so that concurrent nodes cannot deadlock.

        Those that could not be written are kept for the next call.

        :raises ServiceUnavailable: when the database is unavailable.
        """
        uses, self._uses = self._uses, {}
        pending, size = sorted(uses.items()), SliceSize()
        try:
            while pending:
                rows = size.rows
                async with database.transaction() as tx:
                    started = time.perf_counter()
                    for (brand_id, row_id), at in pending[:rows]:
                        await touch(tx, brand_id, row_id, min(at, now), now + AHEAD)
                    size.note(time.perf_counter() - started)
                del pending[:rows]
                await asyncio.sleep(time.perf_counter() - started if pending else 0)
        finally:
            for key, at in pending[: self._most - len(self._uses)]:
                self._uses.setdefault(key, at)
