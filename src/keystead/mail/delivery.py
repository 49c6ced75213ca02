"""Delivering mail: after the commit, in the background, again until it works. No request waits for it.

A mail is taken on a lease that is longer than its delivery can last. Whoever dies with mails in hand leaves them to the
others when the lease runs out: then, and only then, a mail may arrive twice, both times with the same Message-ID.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from email.message import EmailMessage

import structlog

from keystead.context import Server
from keystead.mail.attempts import DELIVERED, Outcome, failed, hopeless, pause, refused
from keystead.mail.deliveries import store
from keystead.mail.links import IsLinkGood, find_link_state
from keystead.mail.message import build_message
from keystead.mail.model import Mail, MailState
from keystead.mail.rendering import render
from keystead.mail.transport import DeliveryFailed, DeliveryRefused, Transport
from keystead.time_limit import within

CONVERSATIONS = 4
"""Of one process with the mail server, at a time. Providers refuse those who come with many."""
BATCH = 2 * CONVERSATIONS
"""Mails that one process has in hand."""
SEND_WITHIN = 75.0
"""Seconds after which a mail is given up, for this time. A transport is quicker to give up: this is the last resort."""
LEASE = timedelta(minutes=5)
"""How long nobody else may deliver a mail: well beyond what a whole batch may take."""

_log = structlog.get_logger("keystead.mail")

Compose = Callable[[Server, Mail], Awaitable[EmailMessage]]
"""Puts a mail's wording and its link into a message."""


async def compose(server: Server, mail: Mail) -> EmailMessage:
    """The mail's wording, its link, and its headers: the same again for each attempt."""
    rendered = await render(server.db.reads, mail, server.master_key)
    return build_message(mail, rendered, server.settings.mail_sender)


class Delivery:
    """Delivers mails for one process, which is called ``holder`` and by no name that another process has.

    Each of the ``transports`` carries one mail after the other. A mail whose link is not good any more, as
    ``is_link_good`` says, is not sent.
    """

    def __init__(
        self,
        server: Server,
        transports: Sequence[Transport],
        holder: str,
        is_link_good: IsLinkGood,
        compose: Compose = compose,
        count: Callable[[MailState], None] = lambda _: None,
    ) -> None:
        self._server = server
        self._transports = tuple(transports)
        self._free: asyncio.Queue[Transport] = asyncio.Queue()
        for transport in transports:
            self._free.put_nowait(transport)
        self._sender = server.settings.mail_sender.address
        self._holder = holder
        self._is_link_good = is_link_good
        self._compose = compose
        self._count = count
        self._is_closing = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def deliver_due(self) -> int:
        """Delivers a few of the mails that are due; how many of them need no further attempt.

        Fewer than there were in hand: some have to be tried again. Not for two tasks at once.
        """
        if self._is_closing:
            return 0
        self._is_idle.clear()
        try:
            return sum(await asyncio.gather(*(self._deliver(mail) for mail in await self._take())))
        finally:
            self._is_idle.set()

    async def deliver_all_due(self) -> None:
        """Delivers until nothing is due, then takes leave of the mail server."""
        while await self.deliver_due():
            pass
        await asyncio.gather(*(transport.close() for transport in self._transports))

    async def finish(self, seconds: float) -> None:
        """Takes no more mails, and waits up to ``seconds`` for those in hand.

        What is not done by then is tried again when its lease is over.
        """
        self._is_closing = True
        with suppress(TimeoutError):
            await within(seconds, self._is_idle.wait())

    async def _take(self) -> list[Mail]:
        db, now = self._server.db, self._server.clock.now()
        if not await store.is_any_due(db.reads, now):
            return []
        return await db.run(lambda tx: store.take(tx, self._holder, now, now + LEASE, BATCH))

    async def _deliver(self, mail: Mail) -> bool:
        outcome = await self._attempt(mail)
        try:
            is_recorded = await self._record(mail, outcome)
        except Exception as error:
            # The mail stays leased and is tried again later: rather twice than never.
            _log.warning("mail_outcome_not_recorded", mail=mail.id, outcome=outcome.state.value, exc_info=error)
            return False
        if is_recorded:
            self._tell(mail, outcome)
        return is_recorded and outcome.state is not MailState.waiting

    async def _attempt(self, mail: Mail) -> Outcome:
        try:
            end = await self._look_ahead(mail)
            if end is not None:
                return end
            await self._send(mail)
        except DeliveryRefused as error:
            return refused(error.reason)
        except DeliveryFailed as error:
            return failed(mail, error.reason)
        except TimeoutError:
            return failed(mail, f"The mail server took longer than {SEND_WITHIN:.0f} s.")
        except Exception as error:
            # A template of the brand's, mostly. It may be mended, and must not hold up the other mails.
            _log.error("mail_not_sent", mail=mail.id, kind=mail.kind.value, exc_info=error)
            return failed(mail, "The mail could not be put together: the log says why.")
        return DELIVERED

    async def _look_ahead(self, mail: Mail) -> Outcome | None:
        server, now = self._server, self._server.clock.now()
        link = await find_link_state(server.db.reads, mail, server.master_key, now, self._is_link_good)
        return hopeless(mail, link, now)

    async def _send(self, mail: Mail) -> None:
        message = await self._compose(self._server, mail)
        transport = await self._free.get()
        try:
            await within(SEND_WITHIN, transport.send(message, self._sender, mail.recipient))
        finally:
            self._free.put_nowait(transport)

    async def _record(self, mail: Mail, outcome: Outcome) -> bool:
        now = self._server.clock.now()
        at = now + pause(mail.attempts) if outcome.state is MailState.waiting else now
        return await self._server.db.run(
            lambda tx: store.settle(tx, mail.brand_id, mail, self._holder, outcome.state, now, at, outcome.reason)
        )

    def _tell(self, mail: Mail, outcome: Outcome) -> None:
        """For the operator: never an address, never what the mail says."""
        self._count(outcome.state)
        told_of = {"mail": mail.id, "kind": mail.kind.value, "brand": mail.brand_id, "attempt": mail.attempts}
        match outcome.state:
            case MailState.delivered:
                _log.info("mail_delivered", **told_of)
            case MailState.dead:
                _log.warning("mail_given_up", reason=outcome.reason, **told_of)
            case _:
                _log.warning("mail_postponed", reason=outcome.reason, **told_of)
