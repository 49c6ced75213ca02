"""One conversation with the mail server: it carries one mail after the other, and says what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage

import structlog

from keystead.aio import is_being_cancelled, within
from keystead.context import Server
from keystead.failures import describe
from keystead.mail import lease_store
from keystead.mail.links import IsLinkGood, find_link_state
from keystead.mail.message import build_message
from keystead.mail.model import Mail, MailState
from keystead.mail.rendering import render
from keystead.mail.retry_policy import DELIVERED, Outcome, failed, hopeless, refused, uncertain
from keystead.mail.smtp import LONGEST_DELIVERY
from keystead.mail.transport import DeliveryFailed, DeliveryRefused, DeliveryUncertain, Transport

SEND_WITHIN = LONGEST_DELIVERY + 15
"""Seconds after which a mail is given up, for this time. A transport is quicker to give up: this is the last resort."""
CLOCK_SKEW = timedelta(minutes=1)
"""A margin: nodes share the database's clock, which may be set while a mail is on its way."""
AROUND = timedelta(minutes=1)
"""What a lease lasts longer than the sending alone: for putting a mail together, and for saying what became of it."""
LEASE = timedelta(seconds=SEND_WITHIN) + CLOCK_SKEW + AROUND
"""How long nobody else may deliver a mail: longer than it can be on its way, by anybody's clock."""
RECORD_PAUSES = (0.1, 0.5, 2.0, 5.0)
"""Seconds between attempts to write down what became of a mail."""

_log = structlog.get_logger("keystead.mail")

Compose = Callable[[Server, Mail], Awaitable[EmailMessage]]
"""Puts a mail's wording and its link into a message."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A mail that is ours alone, for a time."""

    mail: Mail
    until: datetime

    @property
    def is_repeat(self) -> bool:
        """Whether somebody has tried before to deliver it."""
        return self.mail.attempts > 1


@dataclass(frozen=True, slots=True)
class Work:
    """What the conversations of one process have in common."""

    server: Server
    holder: str
    """What the process is called, and no other one."""
    is_link_good: IsLinkGood
    compose: Compose
    count: Callable[[MailState], None]
    rest: Callable[[float], Awaitable[object]]
    """Waits for so many seconds."""
    begun: set[str] = field(default_factory=set)
    """Ids of mails that may have arrived, and of which it is not written down what became of them."""


async def compose(server: Server, mail: Mail) -> EmailMessage:
    """The mail's wording, its link, and its headers: the same again for each attempt."""
    rendered = await render(server.db.reads, mail, server.master_key)
    return build_message(mail, rendered, server.settings.mail_sender)


class Conversation:
    """Carries mails over one transport, one at a time."""

    def __init__(self, work: Work, transport: Transport) -> None:
        self._work = work
        self._transport = transport
        self._is_with_transport = False

    async def carry(self, lease: Lease) -> bool:
        """Delivers a mail; whether it needs no further attempt.

        When this is cancelled, the mail is among those that were ``begun``, or may be given back.
        """
        mail, begun = lease.mail, self._work.begun
        begun.discard(mail.id)
        self._is_with_transport = False
        try:
            outcome = await self._attempt(lease)
        except asyncio.CancelledError:
            if self._may_have_arrived:
                begun.add(mail.id)
            raise
        if outcome.state is MailState.delivered or outcome.is_doubtful:
            begun.add(mail.id)
        try:
            is_recorded = await self._record(lease, outcome)
        except Exception as error:
            # The mail stays leased and is tried again later: rather twice than never.
            _log.warning("mail_outcome_not_recorded", mail=mail.id, outcome=outcome.state.value, **describe(error))
            return False
        begun.discard(mail.id)
        if is_recorded:
            self._tell(mail, outcome)
        return is_recorded and outcome.state is not MailState.waiting

    async def close(self) -> None:
        """Takes leave of the mail server; the next mail begins another conversation."""
        await self._transport.close()

    async def _attempt(self, lease: Lease) -> Outcome:
        mail = lease.mail
        try:
            return await self._look_ahead(mail) or await self._send(lease)
        except DeliveryRefused as error:
            return refused(mail, error.reason)
        except DeliveryUncertain as error:
            return uncertain(mail, error.reason)
        except DeliveryFailed as error:
            return failed(mail, error.reason)
        except TimeoutError:
            return self._broken_off(mail, f"The mail server took longer than {SEND_WITHIN:.0f} s.")
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            return self._broken_off(mail, "The conversation with the mail server was broken off.")
        except Exception as error:
            # A template of the brand's, mostly. It may be mended, and must not hold up the other mails.
            _log.error("mail_not_sent", mail=mail.id, kind=mail.kind.value, exc_info=error)
            return self._broken_off(mail, "The mail could not be put together: the log says why.")

    async def _look_ahead(self, mail: Mail) -> Outcome | None:
        server, now = self._work.server, self._work.server.clock.now()
        link = await find_link_state(server.db.reads, mail, server.master_key, now, self._work.is_link_good)
        return hopeless(mail, link, now)

    async def _send(self, lease: Lease) -> Outcome:
        server, mail = self._work.server, lease.mail
        message = await self._work.compose(server, mail)
        if server.clock.now() + timedelta(seconds=SEND_WITHIN) + CLOCK_SKEW > lease.until:
            # Somebody else may take it before we are done.
            return failed(mail, "Putting the mail together took too long.")
        sender = server.settings.mail_sender.address
        self._is_with_transport = True
        await within(SEND_WITHIN, self._transport.send(message, sender, mail.recipient))
        return DELIVERED

    def _broken_off(self, mail: Mail, reason: str) -> Outcome:
        return uncertain(mail, reason) if self._may_have_arrived else failed(mail, reason)

    @property
    def _may_have_arrived(self) -> bool:
        return self._is_with_transport and self._transport.may_have_taken

    async def _record(self, lease: Lease, outcome: Outcome) -> bool:
        """A moment's trouble with the database is no reason to deliver a mail twice.

        :raises Exception: as the database does, when that lasts.
        """
        for seconds in RECORD_PAUSES:
            try:
                return await self._settle(lease.mail, outcome)
            except Exception:
                if self._work.server.clock.now() + timedelta(seconds=seconds) >= lease.until:
                    raise
                await self._work.rest(seconds)
        return await self._settle(lease.mail, outcome)

    async def _settle(self, mail: Mail, outcome: Outcome) -> bool:
        server, holder = self._work.server, self._work.holder
        now = server.clock.now()
        at, doubtful = now + outcome.pause, outcome.is_doubtful
        return await server.db.run(
            lambda tx: lease_store.settle(
                tx, mail.brand_id, mail, holder, outcome.state, now, at, outcome.reason, is_doubtful=doubtful
            )
        )

    def _tell(self, mail: Mail, outcome: Outcome) -> None:
        """For the operator: never an address, never what the mail says."""
        told_of = {"mail": mail.id, "kind": mail.kind.value, "brand": mail.brand_id, "attempt": mail.attempts}
        match outcome.state:
            case MailState.delivered:
                _log.info("mail_delivered", **told_of)
            case MailState.dead:
                _log.warning("mail_given_up", reason=outcome.reason, **told_of)
            case _:
                _log.warning("mail_postponed", reason=outcome.reason, **told_of)
        try:
            self._work.count(outcome.state)
        except Exception as error:
            _log.warning("mail_not_counted", mail=mail.id, exc_info=error)
