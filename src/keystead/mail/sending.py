"""Send mails over one connection, one at a time, and record the outcome of each."""

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
from keystead.mail.retry_policy import DELIVERED, Outcome, after_ambiguity, after_failure, after_refusal, give_up
from keystead.mail.smtp import LONGEST_DELIVERY
from keystead.mail.transport import DeliveryFailed, DeliveryRefused, DeliveryUncertain, Transport

SEND_TIMEOUT = LONGEST_DELIVERY + 15
"""Seconds for one attempt. A last resort: transports have shorter timeouts."""
CLOCK_SKEW = timedelta(minutes=1)
"""Margin of a lease: nodes use the database's clock, which may be set while a mail is being sent."""
OVERHEAD = timedelta(minutes=1)
"""Margin of a lease for composing the mail and recording its outcome."""
LEASE = timedelta(seconds=SEND_TIMEOUT) + CLOCK_SKEW + OVERHEAD
"""How long a mail is leased: longer than an attempt can last, by any node's clock."""
RECORD_BACKOFF = (0.1, 0.5, 2.0, 5.0)
"""Seconds between attempts to record an outcome."""

_log = structlog.get_logger("keystead.mail")

Compose = Callable[[Server, Mail], Awaitable[EmailMessage]]
"""Builds the message of a mail."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A mail that no other worker may send until the lease expires."""

    mail: Mail
    until: datetime

    @property
    def is_retry(self) -> bool:
        """Whether this is not the first attempt."""
        return self.mail.attempts > 1


@dataclass(frozen=True, slots=True)
class SendingContext:
    """What the senders of one process share."""

    server: Server
    holder: str
    """Unique name of the process."""
    is_link_good: IsLinkGood
    compose: Compose
    count: Callable[[MailState], None]
    sleep: Callable[[float], Awaitable[object]]
    unrecorded: set[str] = field(default_factory=set)
    """Ids of mails that may have arrived and whose outcome is not recorded yet: their leases are kept on shutdown."""


async def compose(server: Server, mail: Mail) -> EmailMessage:
    """Render a mail and build its message; identical for each attempt."""
    rendered = await render(server.db.reads, mail, server.master_key)
    return build_message(mail, rendered, server.settings.mail_sender)


class Sender:
    """Sends mails over one transport, one at a time."""

    def __init__(self, context: SendingContext, transport: Transport) -> None:
        self._context = context
        self._transport = transport
        self._is_with_transport = False

    async def deliver(self, lease: Lease) -> bool:
        """Attempt to deliver a mail; return whether it needs no further attempt.

        On cancellation the mail is in ``unrecorded`` if it may have arrived; otherwise its lease can be released.
        """
        mail, unrecorded = lease.mail, self._context.unrecorded
        unrecorded.discard(mail.id)
        self._is_with_transport = False
        try:
            outcome = await self._attempt(lease)
        except asyncio.CancelledError:
            if self._may_have_arrived:
                unrecorded.add(mail.id)
            raise
        if outcome.state is MailState.delivered or outcome.is_doubtful:
            unrecorded.add(mail.id)
        try:
            is_recorded = await self._record(lease, outcome)
        except Exception as error:
            # The mail stays leased and is retried later: at-least-once delivery.
            _log.warning("mail_outcome_not_recorded", mail=mail.id, outcome=outcome.state.value, **describe(error))
            return False
        unrecorded.discard(mail.id)
        if is_recorded:
            self._report(mail, outcome)
        return is_recorded and outcome.state is not MailState.waiting

    async def close(self) -> None:
        """Close the connection; the next mail opens another one."""
        await self._transport.close()

    async def _attempt(self, lease: Lease) -> Outcome:
        mail = lease.mail
        try:
            return await self._check(mail) or await self._send(lease)
        except DeliveryRefused as error:
            return after_refusal(mail, error.reason)
        except DeliveryUncertain as error:
            return after_ambiguity(mail, error.reason)
        except DeliveryFailed as error:
            return after_failure(mail, error.reason)
        except TimeoutError:
            return self._interrupted(mail, f"The mail server took longer than {SEND_TIMEOUT:.0f} s.")
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            return self._interrupted(mail, "The connection to the mail server was interrupted.")
        except Exception as error:
            # Mostly a brand's template, which can be repaired; other mails must not be blocked by it.
            _log.error("mail_not_sent", mail=mail.id, kind=mail.kind.value, exc_info=error)
            return self._interrupted(mail, "The mail could not be composed; see the log.")

    async def _check(self, mail: Mail) -> Outcome | None:
        server, now = self._context.server, self._context.server.clock.now()
        link = await find_link_state(server.db.reads, mail, server.master_key, now, self._context.is_link_good)
        return give_up(mail, link, now)

    async def _send(self, lease: Lease) -> Outcome:
        server, mail = self._context.server, lease.mail
        message = await self._context.compose(server, mail)
        if server.clock.now() + timedelta(seconds=SEND_TIMEOUT) + CLOCK_SKEW > lease.until:
            # The lease could expire before the attempt ends.
            return after_failure(mail, "Composing the mail took too long.")
        sender = server.settings.mail_sender.address
        self._is_with_transport = True
        await within(SEND_TIMEOUT, self._transport.send(message, sender, mail.recipient))
        return DELIVERED

    def _interrupted(self, mail: Mail, reason: str) -> Outcome:
        return after_ambiguity(mail, reason) if self._may_have_arrived else after_failure(mail, reason)

    @property
    def _may_have_arrived(self) -> bool:
        return self._is_with_transport and self._transport.may_have_taken

    async def _record(self, lease: Lease, outcome: Outcome) -> bool:
        """Record the outcome, with retries: a short failure of the database should not deliver a mail twice.

        :raises Exception: of the database, when it lasts.
        """
        for seconds in RECORD_BACKOFF:
            try:
                return await self._try_to_record(lease.mail, outcome)
            except Exception:
                if self._context.server.clock.now() + timedelta(seconds=seconds) >= lease.until:
                    raise
                await self._context.sleep(seconds)
        return await self._try_to_record(lease.mail, outcome)

    async def _try_to_record(self, mail: Mail, outcome: Outcome) -> bool:
        server, holder = self._context.server, self._context.holder
        now = server.clock.now()
        at, doubtful = now + outcome.delay, outcome.is_doubtful
        return await server.db.run(
            lambda tx: lease_store.record_outcome(
                tx, mail.brand_id, mail, holder, outcome.state, now, at, outcome.reason, is_doubtful=doubtful
            )
        )

    def _report(self, mail: Mail, outcome: Outcome) -> None:
        """Log and count the outcome, without addresses and content."""
        fields = {"mail": mail.id, "kind": mail.kind.value, "brand": mail.brand_id, "attempt": mail.attempts}
        match outcome.state:
            case MailState.delivered:
                _log.info("mail_delivered", **fields)
            case MailState.dead:
                _log.warning("mail_given_up", reason=outcome.reason, **fields)
            case _:
                _log.warning("mail_postponed", reason=outcome.reason, **fields)
        try:
            self._context.count(outcome.state)
        except Exception as error:
            _log.warning("mail_not_counted", mail=mail.id, exc_info=error)
