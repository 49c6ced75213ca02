"""A fake transport, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.message import EmailMessage
from typing import NamedTuple

from keystead.context import Server
from keystead.crypto.secrets import Secret
from keystead.db.interface import Tx
from keystead.mail.links import IsLinkGood
from keystead.mail.model import Mail, MailState
from keystead.mail.worker import CONNECTIONS, MailWorker

LONGEST_WAIT = 20.0
"""Seconds after which a test that waits has failed."""


class Sent(NamedTuple):
    """One mail that was taken."""

    message_id: str
    sender: str
    recipient: str


class Post:
    """Takes every mail, unless ``refuse`` or ``hold_up`` says otherwise."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.attempts = 0
        self.busy = 0
        """Mails that it is just being given."""
        self.is_open = False
        self.error: Exception | None = None
        self.errors_of: dict[str, Exception] = {}
        """By recipient."""
        self.before_taking: Callable[[Sent], Awaitable[object]] | None = None
        self.is_asked = asyncio.Event()
        self._takes = asyncio.Event()
        self.may_have_taken = False
        self.has_it_all = False
        """Whether it has the whole mail while ``before_taking`` lasts."""

    async def send(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """As a transport does it."""
        self.attempts += 1
        self.is_open = True
        self.is_asked.set()
        mail = Sent(str(message["Message-ID"]), sender, recipient)
        self.busy += 1
        self.may_have_taken = self.has_it_all
        try:
            if self.before_taking is not None:
                await self.before_taking(mail)
        finally:
            self.busy -= 1
        error = self.errors_of.get(recipient, self.error)
        if error is not None:
            raise error
        self.may_have_taken = True
        self.sent.append(mail)
        self._takes.set()

    async def close(self) -> None:
        """No mail follows."""
        self.is_open = False

    def hold_up(self, *recipients: str) -> asyncio.Event:
        """From now on it is silent until the event is set; only about these recipients, where some are named."""
        is_over = asyncio.Event()

        async def wait(mail: Sent) -> None:
            if not recipients or mail.recipient in recipients:
                await is_over.wait()

        self.before_taking = wait
        return is_over

    async def has_taken(self, count: int) -> None:
        """Waits until it has taken so many mails."""
        async with asyncio.timeout(LONGEST_WAIT):
            while len(self.sent) < count:
                self._takes.clear()
                await self._takes.wait()

    @property
    def mail_ids(self) -> list[str]:
        """Of the mails that were taken."""
        return [mail.message_id.strip("<>").partition("@")[0] for mail in self.sent]


async def compose(_: Server, mail: Mail) -> EmailMessage:
    """A message without much in it."""
    message = EmailMessage()
    message["Message-ID"] = f"<{mail.id}@auth.example.com>"
    message.set_content("Hello")
    return message


async def always_good(_tx: Tx, _secret: Secret, _now: datetime) -> bool:
    """Every link is valid."""
    return True


def make_delivery(
    server: Server,
    post: Post,
    holder: str = "node-1",
    *,
    is_link_good: IsLinkGood = always_good,
    composing: Callable[[Server, Mail], Awaitable[EmailMessage]] = compose,
    count: Callable[[MailState], None] = lambda _: None,
) -> MailWorker:
    """A worker that does not wait between attempts."""
    return MailWorker(server, [post] * CONNECTIONS, holder, is_link_good, composing, count, rest)


async def rest(_seconds: float) -> None:
    """No longer than it takes others to have their turn."""
    await asyncio.sleep(0)
