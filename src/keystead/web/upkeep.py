"""Background tasks of a serving process: reload the keyring, rotate signing keys, deliver mail, delete expired rows.

A task that fails is retried at its next interval; a series of failures is logged when it begins and when it ends. No
failure stops the server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from keystead.aio import is_being_cancelled
from keystead.api_keys import service as api_keys
from keystead.authentication.link_request_worker import RoundRobin, process_all
from keystead.context import Server
from keystead.db.clock import MEASURE_SECONDS, DatabaseClock, time_in
from keystead.db.interface import Tx
from keystead.db.last_uses import WRITE_SECONDS
from keystead.db.slices import run_in_slices
from keystead.errors import KeysteadError
from keystead.failures import FailureSeries
from keystead.installation import service as installation
from keystead.installation.keyring_updates import follow_keyring
from keystead.mail import request_store as mail_requests
from keystead.mail import service as mail
from keystead.sessions import refresh_token_store
from keystead.sessions import service as sessions
from keystead.users.one_time_tokens import store as one_time_tokens
from keystead.web import metrics
from keystead.web.bootstrap import system_context

if TYPE_CHECKING:
    from keystead.mail.worker import MailWorker

KEYRING_SECONDS = 2.0
"""Poll interval of the keyring's version: a revocation takes effect on every node within 5 s (security §5)."""
DELIVERY_SECONDS = 1.0
RESOLVE_SECONDS = 2.0
"""Time limit of a round that resolves mail requests; one batch may exceed it."""
FINISH_SECONDS = 3.0
"""How long a stopping process waits for mails in delivery, after it has waited for the requests."""
SWEEP_SECONDS = 300.0
SWEEP_LIMIT = 60.0
"""Time limit of a round per kind of row; the rest waits for the next round."""
KEEP_ENDED = timedelta(days=30)
MAX_CLOCK_OFFSET = timedelta(seconds=60)
"""Offset at which the operator is warned: log lines and TLS depend on the machine's clock."""

_log = structlog.get_logger("keystead.upkeep")


class Upkeep:
    """The background tasks of one process."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._name = os.urandom(8).hex()
        self._turns = RoundRobin(server)
        self._tasks: list[asyncio.Task[None]] = []
        self._delivery = _delivery(server, self._name)
        self._are_clocks_apart = False

    def start(self) -> None:
        """Start the tasks on the running loop."""
        self._tasks = [
            asyncio.create_task(_repeat(MEASURE_SECONDS, self.follow_clock)),
            asyncio.create_task(_repeat(KEYRING_SECONDS, self.follow_keyring)),
            asyncio.create_task(_repeat(SWEEP_SECONDS, self.sweep)),
            asyncio.create_task(_repeat(WRITE_SECONDS, self.write_last_uses)),
            asyncio.create_task(_repeat(DELIVERY_SECONDS, self.resolve_mail_requests)),
        ]
        if self._delivery is not None:
            self._tasks.append(asyncio.create_task(_repeat(DELIVERY_SECONDS, self._delivery.deliver_all_due)))

    async def stop(self) -> None:
        """Cancel the tasks and await them, after finishing the deliveries in progress within ``FINISH_SECONDS``."""
        if self._delivery is not None:
            await self._delivery.finish(FINISH_SECONDS)
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        with suppress(KeysteadError, TimeoutError):
            async with asyncio.timeout(FINISH_SECONDS):
                await self.write_last_uses()

    async def write_last_uses(self) -> None:
        """Write the last uses of API keys and sessions, which requests only keep in memory."""
        await api_keys.write_uses(self._server)
        await sessions.write_uses(self._server)

    async def follow_clock(self) -> None:
        """Measure the offset to the database's clock; log when it exceeds a minute."""
        clock = self._server.clock
        if not isinstance(clock, DatabaseClock):
            return
        ahead = await clock.measure(self._server.db)
        metrics.set_clock_offset(ahead.total_seconds())
        are_apart = abs(ahead) > MAX_CLOCK_OFFSET
        if are_apart and not self._are_clocks_apart:
            reason = "the machine's or the database's clock is wrong; the database's is used"
            _log.warning("clocks_apart", seconds=round(ahead.total_seconds(), 1), reason=reason)
        elif self._are_clocks_apart and not are_apart:
            _log.info("clocks_together", seconds=round(ahead.total_seconds(), 1))
        self._are_clocks_apart = are_apart

    async def follow_keyring(self) -> None:
        """Reload a keyring that changed, or whose schedule has advanced."""
        await follow_keyring(self._server)

    async def resolve_mail_requests(self) -> None:
        """Resolve the pending requests for mailed links, with or without a mail server.

        Under a lease, since all processes would read the same rows.
        """
        oldest = await mail_requests.find_oldest(self._server.db.reads)
        waits = timedelta(0) if oldest is None else self._server.clock.now() - oldest
        metrics.set_mail_request_age(waits.total_seconds())
        if oldest is None:
            return
        ctx, lease = system_context(self._server, f"mail-{self._name}"), timedelta(seconds=2 * RESOLVE_SECONDS)
        if await installation.take_lease(ctx, "mail_requests", self._name, lease):
            await process_all(self._server, RESOLVE_SECONDS, self._turns)

    async def sweep(self) -> None:
        """Delete expired rows, under a lease; not while the database's time cannot be measured."""
        ctx, clock = system_context(self._server, f"upkeep-{self._name}"), self._server.clock
        if isinstance(clock, DatabaseClock) and not clock.is_measured:
            _log.warning("upkeep_paused", reason="the database's clock could not be measured for a while")
            return
        lease = timedelta(seconds=SWEEP_SECONDS)
        if not await installation.take_lease(ctx, "upkeep", self._name, lease):
            return
        await installation.maintain(ctx)
        await self._sweep(lambda tx, now, rows: refresh_token_store.sweep(tx, now - KEEP_ENDED, rows))
        await self._sweep(one_time_tokens.sweep)
        await self._sweep(mail.sweep)

    async def _sweep(self, sweep: Callable[[Tx, datetime, int], Awaitable[int]]) -> None:
        async def step(tx: Tx, rows: int) -> int:
            return await sweep(tx, await time_in(tx, self._server.clock), rows)

        await run_in_slices(self._server.db, step, seconds=SWEEP_LIMIT)


def _delivery(server: Server, holder: str) -> MailWorker | None:
    """The mail worker, or None without a mail server."""
    mail_server = server.settings.mail_server
    if mail_server is None:
        return None
    # Imported here: without a mail server neither templates nor SMTP client are needed.
    from keystead.mail.smtp import SmtpTransport
    from keystead.mail.worker import CONNECTIONS, MailWorker

    hostname = server.settings.mail_sender.domain
    transports = [SmtpTransport(mail_server, hostname) for _ in range(CONNECTIONS)]
    return MailWorker(server, transports, holder, one_time_tokens.is_valid, count=metrics.count_mail)


async def _repeat(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    failures = FailureSeries()
    while True:
        try:
            await work()
        except (asyncio.CancelledError, Exception) as error:
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                raise
            if fields := failures.start(error):
                _log.warning("upkeep_failed", work=work.__name__, **fields)
        else:
            if failures.end():
                _log.info("upkeep_recovered", work=work.__name__)
        await asyncio.sleep(seconds)
