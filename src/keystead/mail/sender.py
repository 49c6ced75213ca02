"""Sending mails by SMTP: RFC 5321, RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6531 (SMTPUTF8).

Nothing that is said in a conversation is logged, here or by aiosmtplib: neither a login nor a mail.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as ASCII_HEADERS
from email.policy import SMTPUTF8 as UTF8_HEADERS

import aiosmtplib

from keystead.mail.message import envelope_address
from keystead.mail.smtp_failures import Hidden, judged
from keystead.mail.transport import DeliveryError, DeliveryFailed, DeliveryRefused, Transport
from keystead.outgoing_mail import Encryption, MailServer
from keystead.time_limit import within

__all__ = ["DeliveryError", "DeliveryFailed", "DeliveryRefused", "Limits", "SmtpTransport", "Transport"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after which a server has taken too long."""

    connect: float = 10.0
    command: float = 20.0
    whole: float = 60.0
    """A mail from connecting to its acceptance."""
    goodbye: float = 2.0


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

    async def send(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """Hands the message over; see :class:`~keystead.mail.transport.Transport`."""
        to = envelope_address(recipient)
        async with self._turn:
            with judged(self._hidden(sender, recipient, to)):
                await within(self._limits.whole, self._deliver(message, sender, to))

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
        client = await self._ready()
        with _closed_by_errors(client):
            await self._hand_over(client, message, sender, recipient)

    async def _hand_over(self, client: aiosmtplib.SMTP, message: EmailMessage, sender: str, recipient: str) -> None:
        needs_utf8 = not recipient.isascii()
        if needs_utf8 and not client.supports_extension("smtputf8"):
            raise DeliveryRefused("the address has letters outside ASCII, and the mail server takes none (SMTPUTF8)")
        content = message.as_bytes(policy=UTF8_HEADERS if needs_utf8 else ASCII_HEADERS)
        options = ["SMTPUTF8"] if needs_utf8 else []
        if client.supports_extension("size"):
            options.append(f"SIZE={len(content)}")
        await client.mail(sender, options=options)
        await client.rcpt(recipient, encoding="utf-8")
        # A server may look long at a whole mail before it takes it. Nobody is helped by sending it twice.
        await client.data(content, timeout=self._limits.whole)

    async def _ready(self) -> aiosmtplib.SMTP:
        """A connection that is known to be alive, with no mail begun."""
        if self._client is not None and self._client.is_connected:
            with suppress(aiosmtplib.SMTPException, OSError), _closed_by_errors(self._client):
                await self._client.rset()
                return self._client
            self._client.close()
        self._client = await self._connect()
        return self._client

    async def _connect(self) -> aiosmtplib.SMTP:
        encryption = self._server.encryption
        client = aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            local_hostname=self._hostname,
            timeout=self._limits.command,
            use_tls=encryption is Encryption.implicit,
            start_tls=False,
            # Reading the system's certificates takes a while. They are read each time: they change while we run.
            tls_context=None if encryption is Encryption.off else await asyncio.to_thread(_tls_context),
        )
        try:
            await client.connect(timeout=self._limits.connect)
            await client.ehlo()
            if encryption in (Encryption.required, Encryption.offered):
                await self._start_tls(client)
            await self._log_in(client)
        except BaseException:
            client.close()
            raise
        return client

    async def _start_tls(self, client: aiosmtplib.SMTP) -> None:
        if client.supports_extension("starttls"):
            await client.starttls()
            # What was said in the clear counts no more (RFC 3207 §4.2).
            await client.ehlo()
        elif self._server.encryption is Encryption.required:
            raise DeliveryFailed("the mail server offers no STARTTLS, and nothing is said to it in the clear")

    async def _log_in(self, client: aiosmtplib.SMTP) -> None:
        user, password = self._server.user, self._server.password
        if user is None or password is None:
            return
        if client.get_transport_info("sslcontext") is None and not self._server.is_here:
            raise DeliveryFailed("the password is not sent in the clear")
        ways = {"plain": client.auth_plain, "login": client.auth_login}
        offered = [way for way in ways if way in client.server_auth_methods]
        if not offered:
            raise DeliveryFailed("the mail server offers no login by PLAIN or LOGIN")
        await ways[offered[0]](user, password)

    def _hidden(self, *addresses: str) -> Hidden:
        return Hidden(addresses, self._server.user, self._server.password)


def _tls_context() -> ssl.SSLContext:
    """Certificates are verified, and so is the name in them; ``SSL_CERT_FILE`` says whom to trust instead."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


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
