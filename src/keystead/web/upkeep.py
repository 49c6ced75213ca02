"""What a serving process does by itself: follow the keyring, rotate signing keys, deliver mail, sweep what is over.

A failed round is logged and tried again at the next; nothing here can stop the server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from keystead.context import Server
from keystead.db.engine import Tx
from keystead.installation import service as installation
from keystead.mail import service as mail
from keystead.sessions import service as sessions
from keystead.time_limit import is_being_cancelled
from keystead.users.one_time_tokens import service as one_time_tokens
from keystead.web import metrics
from keystead.web.server import system_context

if TYPE_CHECKING:
    from keystead.mail.delivery import Delivery

KEYRING_SECONDS = 2.0
"""How often the keyring's version is read: an emergency revocation is felt everywhere within 5 s (security §5)."""
DELIVERY_SECONDS = 1.0
FINISH_SECONDS = 3.0
"""How long a process that ends waits for the mails in hand, after it has waited for the requests."""
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
        self._delivery = _delivery(server, self._name)

    def start(self) -> None:
        """Starts the tasks on the running loop."""
        self._tasks = [
            asyncio.create_task(_repeat(KEYRING_SECONDS, self.follow_keyring)),
            asyncio.create_task(_repeat(SWEEP_SECONDS, self.sweep)),
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
        await self._sweep(lambda tx: sessions.sweep(tx, now - KEEP_ENDED, SWEEP_BATCH))
        await self._sweep(lambda tx: one_time_tokens.sweep(tx, now, SWEEP_BATCH))
        await self._sweep(lambda tx: mail.sweep(tx, now, SWEEP_BATCH))

    async def _sweep(self, batch: Callable[[Tx], Awaitable[int]]) -> None:
        swept = SWEEP_BATCH
        while swept == SWEEP_BATCH:
            async with self._server.db.transaction() as tx:
                swept = await batch(tx)


def _delivery(server: Server, holder: str) -> Delivery | None:
    """The worker that delivers mail; without a mail server there is nothing for it to do."""
    mail_server = server.settings.mail_server
    if mail_server is None:
        return None
    # Imported here: a server that sends no mail does without the templates and the client.
    from keystead.mail.delivery import CONVERSATIONS, Delivery
    from keystead.mail.sender import SmtpTransport

    hostname = server.settings.mail_sender.domain
    transports = [SmtpTransport(mail_server, hostname) for _ in range(CONVERSATIONS)]
    return Delivery(server, transports, holder, one_time_tokens.is_good, count=metrics.count_mail)


async def _repeat(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            _log.warning("upkeep_failed", work=work.__name__, exc_info=error)
        except Exception as error:
            _log.warning("upkeep_failed", work=work.__name__, exc_info=error)
        await asyncio.sleep(seconds)
