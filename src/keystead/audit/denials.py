"""Rate-limited audit of denied operations. Security §16.

The first denial per kind (actor and missing permission) is written immediately; repeats are aggregated to one event
per minute, so that a flood writes few rows. Writing runs in the background: no request waits for it, and failures are
logged.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import structlog

from keystead.audit.model import AuditEvent
from keystead.audit.service import describe, record
from keystead.clock import Clock
from keystead.context import ApiKeyPrincipal, Context, UserPrincipal
from keystead.db.interface import Database, Tx
from keystead.db.slices import SliceSize
from keystead.errors import Forbidden

EVENT = "permission.refused"
EVERY = timedelta(minutes=1)
MOST_KINDS = 1024
"""Kinds counted per minute; further denials are only logged as a number."""
MOST_OF_ONE = 32
"""Kinds per actor; all further denials of the actor count as one more kind."""
MOST_WAITING = 256

_log = structlog.get_logger("keystead.audit")


class _Actor(NamedTuple):
    brand_id: str
    kind: str
    id: str | None


class _Kind(NamedTuple):
    actor: _Actor
    missing: str | None


@dataclass(slots=True)
class _Counted:
    """Denials of one kind; ``latest`` and ``times`` are not written yet."""

    written_at: datetime
    latest: AuditEvent
    times: int = 0

    def is_due(self, now: datetime) -> bool:
        # Also due when the clock was set back, which would delay the count.
        return not timedelta() <= now - self.written_at < EVERY


class Denials:
    """The recent denials of one process. For one event loop."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._kinds: dict[_Kind, _Counted] = {}
        self._of_actor: Counter[_Actor] = Counter()
        self._waiting: deque[AuditEvent] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lost = 0
        self._slice = SliceSize()

    def note(self, ctx: Context, operation: str, refused: Forbidden) -> None:
        """Note that a user or API key was denied ``operation``, the name of a field of ``Query`` or ``Mutation``.

        Denials of other callers are ignored: a brand token is public and identifies no actor.
        """
        if not isinstance(ctx.principal, UserPrincipal | ApiKeyPrincipal):
            return
        lacking = {name: str(what) for name, what in refused.extensions.items() if name in ("permission", "feature")}
        event = describe(ctx, EVENT, outcome="refused", details={**lacking, "operation": operation})
        kind = self._kind_of(event, " ".join(lacking.values()))
        counted = self._kinds.get(kind)
        if counted is not None:
            counted.latest = event
            counted.times += 1
            if counted.is_due(event.at):
                self._write_count(counted, event.at)
        elif len(self._kinds) < MOST_KINDS:
            self._kinds[kind] = _Counted(event.at, event)
            self._of_actor[kind.actor] += 1
            self._write(event)
            self._start_timer()
        else:
            self._lost += 1

    def count(self) -> None:
        """Write the counts whose minute is over, and drop the kinds without new denials."""
        now = self._clock.now()
        for kind, counted in list(self._kinds.items()):
            if counted.is_due(now):
                if counted.times:
                    self._write_count(counted, now)
                else:
                    self._forget(kind)
        if self._lost:
            _log.warning("denials_not_recorded", events=self._lost, reason="too many")
            self._lost = 0

    async def written(self) -> None:
        """Wait until everything is written."""
        while self._writing is not None:
            await self._writing

    async def close(self) -> None:
        """Write all counts and stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        now = self._clock.now()
        for counted in self._kinds.values():
            if counted.times:
                self._write_count(counted, now)
        self._kinds.clear()
        self._of_actor.clear()
        await self.written()

    def _kind_of(self, event: AuditEvent, missing: str) -> _Kind:
        actor = _Actor(event.brand_id, event.actor_kind, event.actor_id)
        kind = _Kind(actor, missing)
        if kind not in self._kinds and self._of_actor[actor] >= MOST_OF_ONE:
            return _Kind(actor, None)
        return kind

    def _forget(self, kind: _Kind) -> None:
        del self._kinds[kind]
        self._of_actor[kind.actor] -= 1
        if not self._of_actor[kind.actor]:
            del self._of_actor[kind.actor]

    def _write_count(self, counted: _Counted, now: datetime) -> None:
        details = {**(counted.latest.details or {}), "times": counted.times}
        self._write(msgspec.structs.replace(counted.latest, details=details))
        counted.written_at, counted.times = now, 0

    def _write(self, event: AuditEvent) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            return
        self._waiting.append(event)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                fitting = min(self._slice.rows, len(self._waiting))
                await self._write_some([self._waiting.popleft() for _ in range(fitting)])
        finally:
            self._writing = None

    async def _write_some(self, events: list[AuditEvent]) -> None:
        took = 0.0

        async def write(tx: Tx) -> None:
            nonlocal took
            started = time.perf_counter()
            for event in events:
                await record(tx, event)
            took = time.perf_counter() - started

        try:
            await self._db.run(write)
            self._slice.note(took)
        except Exception as error:
            _log.warning("denials_not_recorded", events=len(events), reason=type(error).__name__)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY.total_seconds(), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.count()
        if self._kinds:
            self._start_timer()
