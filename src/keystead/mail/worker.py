"""Mail worker: delivers mails in the background, after the commit, with retries.

A mail is leased for longer than an attempt can last. If a process dies, its leases expire and other workers take over.
Delivery is at least once: a mail arrives twice, with the same Message-ID, if the mail server accepted it and that could
not be recorded because the process died, the server did not confirm it, or the database was unavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from keystead.aio import within
from keystead.context import Server
from keystead.failures import FailureSeries, describe
from keystead.mail import lease_store
from keystead.mail.links import IsLinkGood
from keystead.mail.model import MailState
from keystead.mail.sending import LEASE, Compose, Lease, Sender, SendingContext, compose
from keystead.mail.transport import Transport

CONNECTIONS = 4
"""Concurrent connections of one process to the mail server. Providers reject clients that open many."""
POLL_SECONDS = 1.0
"""How often a worker looks for mails while some senders are busy."""
RELEASE_SECONDS = 2.0
"""How long shutdown waits for the database to release leases."""

_log = structlog.get_logger("keystead.mail")


class MailWorker:
    """Delivers the mails of one process, whose unique name is ``holder``.

    Each transport sends one mail after the other, so a slow recipient blocks one of them. One is reserved for mails
    that have not been attempted yet. Mails whose link is no longer valid by ``is_link_good`` are not sent.
    """

    def __init__(
        self,
        server: Server,
        transports: Sequence[Transport],
        holder: str,
        is_link_good: IsLinkGood,
        compose: Compose = compose,
        count: Callable[[MailState], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._server = server
        self._holder = holder
        self._context = SendingContext(server, holder, is_link_good, compose, count, sleep)
        self._free = [Sender(self._context, transport) for transport in transports]
        self._busy: dict[asyncio.Task[int], Sender] = {}
        self._most_retries = max(1, len(transports) - 1)
        self._retries = 0
        self._failures = FailureSeries()
        self._leasing = asyncio.Lock()
        self._is_closing = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def deliver_all_due(self) -> int:
        """Deliver until no mail is due or being sent; return how many mails need no further attempt.

        Not for concurrent calls.
        """
        if self._is_closing.is_set():
            return 0
        self._is_idle.clear()
        ended = 0
        try:
            while True:
                for lease in await self._lease(len(self._free)):
                    self._start(lease)
                if not self._busy:
                    return ended
                await asyncio.wait(self._busy, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                ended += self._collect()
        finally:
            await self._cancel_all()
            self._is_idle.set()

    async def finish(self, seconds: float) -> None:
        """Shut down: lease no more mails, wait up to ``seconds`` for those being sent, and release the other leases.

        Mails that may have arrived stay leased and are retried when the lease expires.
        """
        self._is_closing.set()
        with suppress(TimeoutError):
            await within(seconds, self._is_idle.wait())
        await self._cancel_all()
        try:
            await within(RELEASE_SECONDS, self._release())
        except Exception as error:
            _log.warning("mails_not_given_back", **describe(error))

    async def _release(self) -> None:
        async with self._leasing:
            kept = sorted(self._context.unrecorded)
            await self._server.db.run(lambda tx: lease_store.release(tx, self._holder, kept))

    async def _lease(self, limit: int) -> list[Lease]:
        """Lease up to ``limit`` due mails. A database failure is logged and leases none."""
        if limit == 0 or self._is_closing.is_set():
            return []
        db, now = self._server.db, self._server.clock.now()
        try:
            # One at a time: concurrent calls would exceed the limit of retries.
            async with self._leasing:
                if not await lease_store.is_any_due(db.reads, now):
                    self._note_success()
                    return []
                retries, until = self._most_retries - self._retries, now + LEASE
                mails = await db.run(lambda tx: lease_store.lease_due(tx, self._holder, now, until, limit, retries))
                leases = [Lease(mail, until) for mail in mails]
                self._retries += sum(lease.is_retry for lease in leases)
        except Exception as error:
            if fields := self._failures.start(error):
                _log.warning("mails_not_taken", **fields)
            return []
        self._note_success()
        # Mails leased while the shutdown began are released with the others.
        return [] if self._is_closing.is_set() else leases

    def _note_success(self) -> None:
        if self._failures.end():
            _log.info("mails_taken_again")

    def _start(self, lease: Lease) -> None:
        sender = self._free.pop()
        self._busy[asyncio.create_task(self._send_all(sender, lease))] = sender

    async def _send_all(self, sender: Sender, first: Lease) -> int:
        """Send one mail after the other until none is due; return how many need no further attempt."""
        ended, leases = 0, [first]
        while leases:
            try:
                ended += await sender.deliver(leases[0])
            finally:
                self._retries -= leases[0].is_retry
            leases = await self._lease(1)
        await sender.close()
        return ended

    def _collect(self) -> int:
        """Free the senders that are done; return how many mails they finished."""
        ended = 0
        for task in [task for task in self._busy if task.done()]:
            self._free.append(self._busy.pop(task))
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                ended += task.result()
            else:
                _log.error("mail_conversation_failed", exc_info=error)
        return ended

    async def _cancel_all(self) -> None:
        """Cancel the busy senders, so that none runs beside the next round."""
        for task in self._busy:
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy)
        self._collect()
