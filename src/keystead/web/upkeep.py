"""What a serving process does by itself: follow the keyring, rotate signing keys, deliver mail, sweep what is over.

A failed round is tried again at the next, and logged when a series of them begins and ends; nothing here can stop the
server.
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
"""How often the keyring's version is read: an emergency revocation is felt everywhere within 5 s (security §5)."""
DELIVERY_SECONDS = 1.0
RESOLVE_SECONDS = 2.0
"""How long a round decides on requests for mail; one batch may take longer."""
FINISH_SECONDS = 3.0
"""How long a process that ends waits for the mails in hand, after it has waited for the requests."""
SWEEP_SECONDS = 300.0
SWEEP_LIMIT = 60.0
"""How long a round sweeps rows of one kind; what is left by then waits for the next."""
KEEP_ENDED = timedelta(days=30)
CLOCKS_APART = timedelta(seconds=60)
"""From which difference on the operator should mend the machine's clock: log lines and TLS depend on it."""

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
        """Starts the tasks on the running loop."""
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
        """Ends the tasks and waits for them; mails in hand are delivered first, if that does not take long."""
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
        """Writes when API keys and sessions were last used: requests only note it."""
        await api_keys.write_uses(self._server)
        await sessions.write_uses(self._server)

    async def follow_clock(self) -> None:
        """Measures the offset to the database's clock; logs when the machine's own is more than a minute away."""
        clock = self._server.clock
        if not isinstance(clock, DatabaseClock):
            return
        ahead = await clock.measure(self._server.db)
        metrics.set_clock_offset(ahead.total_seconds())
        are_apart = abs(ahead) > CLOCKS_APART
        if are_apart and not self._are_clocks_apart:
            reason = "the machine's clock is wrong, or the database's is: the database's counts"
            _log.warning("clocks_apart", seconds=round(ahead.total_seconds(), 1), reason=reason)
        elif self._are_clocks_apart and not are_apart:
            _log.info("clocks_together", seconds=round(ahead.total_seconds(), 1))
        self._are_clocks_apart = are_apart

    async def follow_keyring(self) -> None:
        """Takes over a keyring that changed, or whose schedule has moved on."""
        await follow_keyring(self._server)

    async def resolve_mail_requests(self) -> None:
        """Decides what comes of the requests for mailed links; also where there is no mail server.

        One process at a time does, since all of them would open the same rows.
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
        """One round of upkeep, by one node at a time; none while the database's time cannot be measured."""
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
    """The worker that delivers mail; without a mail server there is nothing for it to do."""
    mail_server = server.settings.mail_server
    if mail_server is None:
        return None
    # Imported here: a server that sends no mail does without the templates and the client.
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
            if fields := failures.begin(error):
                _log.warning("upkeep_failed", work=work.__name__, **fields)
        else:
            if failures.end():
                _log.info("upkeep_recovered", work=work.__name__)
        await asyncio.sleep(seconds)
