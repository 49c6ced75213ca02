"""Write-behind for stamps of last use: gathered in memory, written by the upkeep in batches.

A request that only reads never waits for a writer. A crash loses at most what was noted since the last write.
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
"""How often the upkeep writes what was noted."""
NOTED_AFTER: Final = timedelta(seconds=45)
"""A use is noted when the one on record is older. With ``WRITE_SECONDS`` a stamp is at most a minute behind."""
MOST: Final = 10_000
"""Stamps in memory, about 3 MB; beyond that the oldest one is dropped."""

AHEAD: Final = timedelta(minutes=1)
"""A stamp that is later than now by more was made before the clock went back, and is overwritten."""

Touch = Callable[[Tx, str, str, datetime, datetime], Awaitable[None]]
"""Writes when a row was last used, unless a later use is on record that is not after the last parameter."""


class LastUses:
    """When each row of one table was last used: by brand and id."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._uses: dict[tuple[str, str], datetime] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def note(self, brand_id: str, row_id: str, last: datetime | None, now: datetime) -> None:
        """Remembers a use, unless ``last``, the one on record, is recent. Never waits and never fails."""
        if last is not None and abs(now - last) < NOTED_AFTER:
            return
        key = (brand_id, row_id)
        if key not in self._uses and len(self._uses) >= self._most:
            del self._uses[next(iter(self._uses))]
        self._uses[key] = now

    async def write(self, database: Database, touch: Touch, now: datetime) -> None:
        """Writes what was noted, in order of ids, so that two nodes never wait for each other.

        What could not be written is kept for the next time.

        :raises ServiceUnavailable: when the database is away.
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
