"""Delivering mails: after the commit, in the background, again until it works. No request waits for it.

A mail is taken on a lease that is longer than its delivery can last. Whoever dies with mails in hand leaves them to the
others when the lease runs out. A mail arrives twice when the mail server took it and nobody could write that down: the
process died, the server did not say so, or the database was away. Both times it has the same Message-ID.
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
from keystead.mail.sending import LEASE, Compose, Conversation, Lease, Work, compose
from keystead.mail.transport import Transport

CONVERSATIONS = 4
"""Of one process with the mail server, at a time. Providers refuse those who come with many."""
LOOK_SECONDS = 1.0
"""How often a worker looks for mails while some of its conversations last."""
GIVE_BACK_SECONDS = 2.0
"""How long a process that ends waits for the database to take its mails back."""

_log = structlog.get_logger("keystead.mail")


class Delivery:
    """Delivers mails for one process, which is called ``holder`` and by no name that another process has.

    Each of the ``transports`` carries one mail after the other, and takes the next as soon as it is free: a recipient
    whose server is slow holds up one of them. One is kept for mails that nobody has tried to deliver. A mail whose link
    is not good any more, as ``is_link_good`` says, is not sent.
    """

    def __init__(
        self,
        server: Server,
        transports: Sequence[Transport],
        holder: str,
        is_link_good: IsLinkGood,
        compose: Compose = compose,
        count: Callable[[MailState], None] = lambda _: None,
        rest: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._server = server
        self._holder = holder
        self._work = Work(server, holder, is_link_good, compose, count, rest)
        self._free = [Conversation(self._work, transport) for transport in transports]
        self._busy: dict[asyncio.Task[int], Conversation] = {}
        self._most_repeats = max(1, len(transports) - 1)
        self._repeats = 0
        self._failures = FailureSeries()
        self._taking = asyncio.Lock()
        self._is_closing = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def deliver_all_due(self) -> int:
        """Delivers until nothing is due and nothing in hand; how many mails need no further attempt.

        Looks for more each second while it lasts. Not for two tasks at once.
        """
        if self._is_closing.is_set():
            return 0
        self._is_idle.clear()
        ended = 0
        try:
            while True:
                for lease in await self._take(len(self._free)):
                    self._begin(lease)
                if not self._busy:
                    return ended
                await asyncio.wait(self._busy, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                ended += self._collect()
        finally:
            await self._break_off()
            self._is_idle.set()

    async def finish(self, seconds: float) -> None:
        """Takes no more mails, and waits up to ``seconds`` for those in hand. The others wait for another node.

        Only those that may have arrived by then stay in our hands, and are tried again when their lease is over.
        """
        self._is_closing.set()
        with suppress(TimeoutError):
            await within(seconds, self._is_idle.wait())
        await self._break_off()
        try:
            await within(GIVE_BACK_SECONDS, self._give_back())
        except Exception as error:
            _log.warning("mails_not_given_back", **describe(error))

    async def _give_back(self) -> None:
        async with self._taking:
            begun = sorted(self._work.begun)
            await self._server.db.run(lambda tx: lease_store.give_back(tx, self._holder, begun))

    async def _take(self, limit: int) -> list[Lease]:
        """Mails for so many conversations, not more. Trouble with the database is told and means none."""
        if limit == 0 or self._is_closing.is_set():
            return []
        db, now = self._server.db, self._server.clock.now()
        try:
            # One at a time: together they would take more repeats than they may.
            async with self._taking:
                if not await lease_store.is_any_due(db.reads, now):
                    self._note_success()
                    return []
                room, until = self._most_repeats - self._repeats, now + LEASE
                mails = await db.run(lambda tx: lease_store.take(tx, self._holder, now, until, limit, room))
                leases = [Lease(mail, until) for mail in mails]
                self._repeats += sum(lease.is_repeat for lease in leases)
        except Exception as error:
            if fields := self._failures.begin(error):
                _log.warning("mails_not_taken", **fields)
            return []
        self._note_success()
        # What was taken while the end came is given back with the rest.
        return [] if self._is_closing.is_set() else leases

    def _note_success(self) -> None:
        if self._failures.end():
            _log.info("mails_taken_again")

    def _begin(self, lease: Lease) -> None:
        conversation = self._free.pop()
        self._busy[asyncio.create_task(self._converse(conversation, lease))] = conversation

    async def _converse(self, conversation: Conversation, first: Lease) -> int:
        """Delivers one mail after the other until there is none; how many need no further attempt."""
        ended, leases = 0, [first]
        while leases:
            try:
                ended += await conversation.carry(leases[0])
            finally:
                self._repeats -= leases[0].is_repeat
            leases = await self._take(1)
        await conversation.close()
        return ended

    def _collect(self) -> int:
        """Frees the conversations that are over; how many mails they brought to an end."""
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

    async def _break_off(self) -> None:
        """Ends what is left of the conversations: none goes on beside the next round."""
        for task in self._busy:
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy)
        self._collect()
