"""Sending mails by SMTP: RFC 5321, RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6531 (SMTPUTF8).

Nothing that is said in a conversation is logged, here or by aiosmtplib: neither a login nor a mail.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP as ASCII_HEADERS
from email.policy import SMTPUTF8 as UTF8_HEADERS
from typing import Final

import aiosmtplib

from keystead.aio import within
from keystead.mail.message import envelope_address
from keystead.mail.smtp_connection import Limits, connected
from keystead.mail.smtp_failures import Hidden, judged
from keystead.mail.transport import DeliveryError, DeliveryFailed, DeliveryRefused, DeliveryUncertain, Transport
from keystead.settings.outgoing_mail import MailServer

__all__ = [
    "LONGEST_CONVERSATION",
    "DeliveryError",
    "DeliveryFailed",
    "DeliveryRefused",
    "DeliveryUncertain",
    "Limits",
    "SmtpTransport",
    "Transport",
]


LONGEST_CONVERSATION: Final = Limits().whole + Limits().acceptance
"""Seconds that one mail can take: whoever waits for :meth:`SmtpTransport.send` waits for longer than this."""

_START_INPUT: Final = 354
_TAKEN: Final = 250
_LINE_END = re.compile(rb"\r\n|\r|\n")
_FIRST_DOT = re.compile(rb"^\.", re.MULTILINE)


class SmtpTransport:
    """One conversation with one server. It carries one mail after the other, and is begun again when it has ended.

    ``hostname`` is what we call ourselves (EHLO).
    """

    def __init__(self, server: MailServer, hostname: str, limits: Limits | None = None) -> None:
        self._server = server
        self._hostname = hostname
        self._limits = limits or Limits()
        self._turn = asyncio.Lock()
        self._client: aiosmtplib.SMTP | None = None
        self.may_have_taken = False
        """Whether the mail that was sent last may arrive: it is being handed over as a whole, or has been."""

    async def send(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """Hands the message over; see :class:`~keystead.mail.transport.Transport`."""
        to = envelope_address(recipient)
        async with self._turn:
            self.may_have_taken = False
            with judged(self._hidden(sender, recipient, to)):
                await self._deliver(message, sender, to)

    async def check(self) -> str | None:
        """Connects and logs in, without a mail: the version of TLS, or None where it is done in the clear.

        :raises DeliveryFailed: when one of these did not work.
        """
        async with self._turn:
            with judged(self._hidden()):
                return await within(self._limits.whole, self._look())

    async def close(self) -> None:
        """Says good-bye, if there is a conversation."""
        async with self._turn:
            client, self._client = self._client, None
            if client is not None:
                with suppress(aiosmtplib.SMTPException, OSError), _closed_by_errors(client):
                    await client.quit(timeout=self._limits.goodbye)
                client.close()

    async def _look(self) -> str | None:
        client = await self._ready()
        with _closed_by_errors(client):
            await client.noop()
            encrypted = client.get_transport_info("ssl_object")
        version: str | None = encrypted.version() if encrypted is not None else None
        return version

    async def _deliver(self, message: EmailMessage, sender: str, recipient: str) -> None:
        client, content = await within(self._limits.whole, self._announce(message, sender, recipient))
        with _closed_by_errors(client):
            await self._hand_over(client, content)

    async def _announce(self, message: EmailMessage, sender: str, recipient: str) -> tuple[aiosmtplib.SMTP, bytes]:
        """Goes as far as where the server waits for the mail; the mail as it is to be sent."""
        client = await self._ready()
        with _closed_by_errors(client):
            needs_utf8 = not recipient.isascii()
            if needs_utf8 and not client.supports_extension("smtputf8"):
                raise DeliveryRefused(
                    "the address has letters outside ASCII, and the mail server takes none (SMTPUTF8)"
                )
            content = message.as_bytes(policy=UTF8_HEADERS if needs_utf8 else ASCII_HEADERS)
            options = ["SMTPUTF8"] if needs_utf8 else []
            if client.supports_extension("size"):
                options.append(f"SIZE={len(content)}")
            await client.mail(sender, options=options)
            await _name_recipient(client, recipient)
            reply = await client.execute_command(b"DATA")
            if reply.code != _START_INPUT:
                raise aiosmtplib.SMTPDataError(reply.code, reply.message)
        return client, content

    async def _hand_over(self, client: aiosmtplib.SMTP, content: bytes) -> None:
        # Not by client.data(): it has one limit for the word to begin and for the verdict on the whole.
        if client.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self.may_have_taken = True
        client.protocol.write(_as_data(content))
        try:
            reply = await client.protocol.read_response(timeout=self._limits.acceptance)
        except TimeoutError:
            raise DeliveryUncertain("the mail server was given the mail, and did not say whether it takes it") from None
        self.may_have_taken = reply.code == _TAKEN
        if not self.may_have_taken:
            raise aiosmtplib.SMTPDataError(reply.code, reply.message)

    async def _ready(self) -> aiosmtplib.SMTP:
        """A connection that is known to be alive, with no mail begun."""
        if self._client is not None and self._client.is_connected:
            with suppress(aiosmtplib.SMTPException, OSError), _closed_by_errors(self._client):
                await self._client.rset()
                return self._client
            self._client.close()
        self._client = await connected(self._server, self._hostname, self._limits)
        return self._client

    def _hidden(self, sender: str = "", *recipients: str) -> Hidden:
        return Hidden(sender, recipients, self._server.user, self._server.password)


async def _name_recipient(client: aiosmtplib.SMTP, recipient: str) -> None:
    try:
        await client.rcpt(recipient, encoding="utf-8")
    except ValueError:
        raise DeliveryRefused("the recipient's address cannot be said in SMTP") from None


def _as_data(content: bytes) -> bytes:
    """RFC 5321 §2.3.8 and §4.5.2: lines end with CRLF, a dot that begins one is doubled, a dot alone is the end."""
    lines = _LINE_END.sub(b"\r\n", content)
    end = b".\r\n" if lines.endswith(b"\r\n") else b"\r\n.\r\n"
    return _FIRST_DOT.sub(b"..", lines) + end


@contextmanager
def _closed_by_errors(client: aiosmtplib.SMTP) -> Iterator[None]:
    """Closes the connection on the way out with an error, unless the server merely refused something."""
    try:
        yield
    except DeliveryRefused:
        raise
    except BaseException as error:
        # 421: the server hangs up. A reply without a meaning is no reply.
        if not isinstance(error, aiosmtplib.SMTPResponseException) or not 422 <= error.code < 600:
            client.close()
        raise
