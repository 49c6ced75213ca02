"""What a serving process does by itself: follow the keyring, rotate signing keys, sweep what is over.

A failed round is logged and tried again at the next; nothing here can stop the server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import structlog

from keystead.context import Server
from keystead.installation import service as installation
from keystead.sessions import service as sessions
from keystead.web.server import system_context

KEYRING_SECONDS = 2.0
"""How often the keyring's version is read: an emergency revocation is felt everywhere within 5 s (security §5)."""
SWEEP_SECONDS = 300.0
SWEEP_BATCH = 500
KEEP_ENDED = timedelta(days=30)

_log = structlog.get_logger("keystead.upkeep")


class Upkeep:
    """The background tasks of one process."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._name = os.urandom(8).hex()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts the tasks on the running loop."""
        self._tasks = [
            asyncio.create_task(_repeat(KEYRING_SECONDS, self.follow_keyring)),
            asyncio.create_task(_repeat(SWEEP_SECONDS, self.sweep)),
        ]

    async def stop(self) -> None:
        """Ends the tasks and waits for them."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def follow_keyring(self) -> None:
        """Takes over a keyring that changed, or whose schedule has moved on."""
        server, now = self._server, self._server.clock.now()
        version = await installation.keyring_version(server.db)
        if version != server.keyring.version or now >= server.keyring.valid_until:
            server.keyring = await installation.load_keyring(server.db, server.master_key, now)

    async def sweep(self) -> None:
        """One round of upkeep, by one node at a time."""
        ctx = system_context(self._server, f"upkeep-{self._name}")
        now = ctx.now()
        lease = timedelta(seconds=SWEEP_SECONDS)
        if not await installation.take_lease(ctx.db, "upkeep", self._name, now, lease):
            return
        await installation.maintain(ctx)
        swept = SWEEP_BATCH
        while swept == SWEEP_BATCH:
            async with ctx.db.transaction() as tx:
                swept = await sessions.sweep(tx, now - KEEP_ENDED, SWEEP_BATCH)


async def _repeat(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception as error:
            _log.warning("upkeep_failed", work=work.__name__, exc_info=error)
        await asyncio.sleep(seconds)
