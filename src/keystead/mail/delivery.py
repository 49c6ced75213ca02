"""Delivering mail: after the commit, in the background, again until it works. No request waits for it.

A mail is taken on a lease that is longer than its delivery can last. Whoever dies with mails in hand leaves them to the
others when the lease runs out: then, and only then, a mail may arrive twice, both times with the same Message-ID.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage

import structlog

from keystead.context import Server
from keystead.crypto.secrets import PATTERNS
from keystead.mail.deliveries import store
from keystead.mail.message import build_message
from keystead.mail.model import Mail, MailState
from keystead.mail.rendering import render
from keystead.mail.transport import DeliveryFailed, DeliveryRefused, Transport
from keystead.time_limit import within

BATCH = 8
"""Mails that one process has in hand: two for each connection of its transport."""
SEND_WITHIN = 150.0
"""Seconds after which a mail is given up, for this time. A transport is quicker to give up: this is the last resort."""
LEASE = timedelta(minutes=5)
"""How long nobody else may deliver a mail: well beyond ``SEND_WITHIN``."""
PAUSES = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
)
"""How long a mail waits after its first failure, its second, and so on; then as long as after the last of these."""
MOST_ATTEMPTS = 29
"""Then a mail is dead: 24 h and 21 min after the first attempt."""
STALE_AFTER = timedelta(days=7)
"""A mail that nobody looked at for so long is not sent any more: there was no mail server all the while."""
LONGEST_ERROR = 200

_TOKENS = re.compile("|".join(pattern.pattern for pattern in PATTERNS.values()))
_ADDRESS = re.compile(r"[^\s<>]+@[^\s<>]+")

_log = structlog.get_logger("keystead.mail")

Compose = Callable[[Server, Mail], Awaitable[EmailMessage]]
"""Puts a mail's wording and its link into a message."""


async def compose(server: Server, mail: Mail) -> EmailMessage:
    """The mail's wording, its link, and its headers: the same again for each attempt."""
    rendered = await render(server.db.reads, mail, server.master_key)
    return build_message(mail, rendered, server.settings.mail_sender)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt."""

    state: MailState
    """``delivered``, ``dead``, or ``waiting`` for the next attempt."""
    reason: str | None = None


class Delivery:
    """Delivers mails for one process, which is called ``holder`` and by no name that another process has."""

    def __init__(
        self,
        server: Server,
        transport: Transport,
        holder: str,
        compose: Compose = compose,
        count: Callable[[MailState], None] = lambda _: None,
    ) -> None:
        self._server = server
        self._transport = transport
        self._sender = server.settings.mail_sender.address
        self._holder = holder
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
        """Delivers until nothing is due."""
        while await self.deliver_due():
            pass

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
        hopeless = _why_not(mail, self._server.clock.now())
        if hopeless is not None:
            return Outcome(MailState.dead, _with(hopeless, mail.last_error))
        try:
            await self._send(mail)
        except DeliveryRefused as error:
            return Outcome(MailState.dead, told(error.reason))
        except DeliveryFailed as error:
            return _again(mail, told(error.reason))
        except TimeoutError:
            return _again(mail, f"The mail server took longer than {SEND_WITHIN:.0f} s.")
        except Exception as error:
            # A template of the brand's, mostly. It may be mended, and must not hold up the other mails.
            _log.error("mail_not_sent", mail=mail.id, kind=mail.kind.value, exc_info=error)
            return _again(mail, "The mail could not be put together: the log says why.")
        return Outcome(MailState.delivered)

    async def _send(self, mail: Mail) -> None:
        message = await self._compose(self._server, mail)
        await within(SEND_WITHIN, self._transport.send(message, self._sender, mail.recipient))

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


def pause(attempts: int) -> timedelta:
    """How long a mail waits after so many failed attempts, one at least."""
    return PAUSES[min(attempts, len(PAUSES)) - 1]


def told(reason: str) -> str:
    """What an operator may read of a failure: one printable line of at most 200 characters, no secret, no address."""
    return _line(reason) or "The mail server gave no reason."


def _why_not(mail: Mail, now: datetime) -> str | None:
    """Why the mail is not sent any more, if so."""
    if mail.expires_at is not None and mail.expires_at <= now:
        return "The link ran out before the mail could be sent."
    if now - mail.next_attempt_at > STALE_AFTER:
        return "Nobody delivered it in time."
    if mail.attempts > MOST_ATTEMPTS:
        # Each attempt ended with the process, before it could say what became of it.
        return "Tried too often."
    return None


def _again(mail: Mail, reason: str) -> Outcome:
    return Outcome(MailState.waiting if mail.attempts < MOST_ATTEMPTS else MailState.dead, reason)


def _with(reason: str, earlier: str | None) -> str:
    return _line(f"{reason} Before that: {earlier}") if earlier else reason


def _line(text: str) -> str:
    printable = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return _ADDRESS.sub("[address]", _TOKENS.sub("[hidden]", printable))[:LONGEST_ERROR]
