"""SMTP client: RFC 5321, RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6531 (SMTPUTF8).

Nothing of the SMTP dialogue is logged, here or by aiosmtplib: neither credentials nor mails.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as ASCII_HEADERS
from email.policy import SMTPUTF8 as UTF8_HEADERS
from threading import Thread
from typing import Any, Final

import aiosmtplib

from keystead.aio import within
from keystead.mail.message import envelope_address
from keystead.mail.smtp_failures import Redactor, translate_errors
from keystead.mail.transport import DeliveryFailed, DeliveryRefused, DeliveryUncertain
from keystead.settings.outgoing_mail import Encryption, MailServer


@dataclass(frozen=True, slots=True)
class Limits:
    """Timeouts in seconds."""

    connect: float = 10.0
    """For the name lookup, for connecting to each address, and for the TLS handshake."""
    command: float = 20.0
    whole: float = 60.0
    """From connecting to the reply to DATA."""
    acceptance: float = 240.0
    """From the end of the mail to its final reply. RFC 5321 §4.5.3.2.6 gives servers ten minutes, which is as long as a
    magic link is valid."""
    goodbye: float = 2.0


LONGEST_DELIVERY: Final = Limits().whole + Limits().acceptance
"""Seconds that :meth:`SmtpTransport.send` can take."""
MOST_ADDRESSES: Final = 4
"""Addresses of one server that are tried: each that does not answer costs a whole timeout."""

_START_INPUT: Final = 354
_TAKEN: Final = 250
_LINE_END = re.compile(rb"\r\n|\r|\n")
_FIRST_DOT = re.compile(rb"^\.", re.MULTILINE)


class SmtpTransport:
    """One SMTP connection, reused for mail after mail and reopened when it has ended.

    ``hostname`` is our name in EHLO.
    """

    def __init__(self, server: MailServer, hostname: str, limits: Limits | None = None) -> None:
        self._server = server
        self._hostname = hostname
        self._limits = limits or Limits()
        self._turn = asyncio.Lock()
        self._client: aiosmtplib.SMTP | None = None
        self.may_have_taken = False
        """Whether the last mail may arrive: its content is being transferred, or was accepted."""

    async def send(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """Send one message; see :class:`~keystead.mail.transport.Transport`."""
        to = envelope_address(recipient)
        async with self._turn:
            self.may_have_taken = False
            with translate_errors(self._redactor(sender, recipient, to)):
                await self._deliver(message, sender, to)

    async def check(self) -> str | None:
        """Connect and log in without sending a mail; return the TLS version, or None for an unencrypted connection.

        :raises DeliveryFailed: when connecting, TLS or the login failed.
        """
        async with self._turn:
            with translate_errors(self._redactor()):
                return await within(self._limits.whole, self._check())

    async def close(self) -> None:
        """Send QUIT and close the connection, if there is one."""
        async with self._turn:
            client, self._client = self._client, None
            if client is not None:
                with suppress(aiosmtplib.SMTPException, OSError), _closed_by_errors(client):
                    await client.quit(timeout=self._limits.goodbye)
                client.close()

    async def _check(self) -> str | None:
        client = await self._ready()
        with _closed_by_errors(client):
            await client.noop()
            encrypted = client.get_transport_info("ssl_object")
        version: str | None = encrypted.version() if encrypted is not None else None
        return version

    async def _deliver(self, message: EmailMessage, sender: str, recipient: str) -> None:
        client, content = await within(self._limits.whole, self._announce(message, sender, recipient))
        with _closed_by_errors(client):
            await self._transfer(client, content)

    async def _announce(self, message: EmailMessage, sender: str, recipient: str) -> tuple[aiosmtplib.SMTP, bytes]:
        """Connect and send MAIL, RCPT and DATA; return the client and the encoded message."""
        client = await self._ready()
        with _closed_by_errors(client):
            needs_utf8 = not recipient.isascii()
            if needs_utf8 and not client.supports_extension("smtputf8"):
                raise DeliveryRefused("the address has non-ASCII letters, and the mail server lacks SMTPUTF8")
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

    async def _transfer(self, client: aiosmtplib.SMTP, content: bytes) -> None:
        # Not client.data(): it has one timeout for the reply to DATA and for the final reply.
        if client.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self.may_have_taken = True
        client.protocol.write(_as_data(content))
        try:
            reply = await client.protocol.read_response(timeout=self._limits.acceptance)
        except TimeoutError:
            raise DeliveryUncertain("the mail server did not confirm the mail in time") from None
        self.may_have_taken = reply.code == _TAKEN
        if not self.may_have_taken:
            raise aiosmtplib.SMTPDataError(reply.code, reply.message)

    async def _ready(self) -> aiosmtplib.SMTP:
        """A connection that has just answered, with no mail started."""
        if self._client is not None and self._client.is_connected:
            with suppress(aiosmtplib.SMTPException, OSError), _closed_by_errors(self._client):
                await self._client.rset()
                return self._client
            self._client.close()
        self._client = await _connected(self._server, self._hostname, self._limits)
        return self._client

    def _redactor(self, sender: str = "", *recipients: str) -> Redactor:
        return Redactor(sender, recipients, self._server.user, self._server.password)


async def _connected(server: MailServer, hostname: str, limits: Limits) -> aiosmtplib.SMTP:
    """Connect, encrypt and log in as the settings say."""
    # Reading the system's CA certificates takes a while. They are read each time because they change while we run.
    tls_context = None if server.encryption is Encryption.off else await asyncio.to_thread(_tls_context)
    client = aiosmtplib.SMTP(
        # The name that the certificate has to match.
        hostname=server.host,
        local_hostname=hostname,
        timeout=limits.command,
        use_tls=server.encryption is Encryption.implicit,
        start_tls=False,
        tls_context=tls_context,
    )
    try:
        await client.connect(sock=await _open_socket(server, limits.connect), timeout=limits.connect)
        await client.ehlo()
        if server.encryption in (Encryption.required, Encryption.offered):
            await _start_tls(client, server)
        await _log_in(client, server)
    except BaseException:
        client.close()
        raise
    return client


async def _open_socket(server: MailServer, seconds: float) -> socket.socket:
    """A socket that is connected to the first address of the server that answers within ``seconds``.

    :raises OSError: of the last address, when none answers.
    """
    try:
        async with asyncio.timeout(seconds):
            addresses = await _look_up(server.host, server.port)
    except TimeoutError:
        raise DeliveryFailed("looking up the mail server's name took too long") from None
    failure: OSError = ConnectionError()
    for family, _, _, _, address in addresses[:MOST_ADDRESSES]:
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setblocking(False)
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_connect(opened, address)
        except BaseException as error:
            opened.close()
            if not isinstance(error, OSError):  # TimeoutError is one
                raise
            failure = error
        else:
            return opened
    raise failure


# One for each name: while a resolver hangs, further attempts add no threads.
_lookups: dict[tuple[str, int], Future[list[tuple[Any, ...]]]] = {}


async def _look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    """``getaddrinfo`` on a daemon thread; concurrent callers share one lookup.

    Not on the event loop's own threads: a hanging resolver would block the database's connections, which need them, and
    the exit of the process.
    """
    pending = _lookups.get((host, port))
    if pending is not None and not pending.done():
        return await asyncio.wrap_future(pending)
    found = _lookups[host, port] = Future[list[tuple[Any, ...]]]()
    # Without this, a caller that stops waiting would cancel the future under the thread.
    found.set_running_or_notify_cancel()

    def run() -> None:
        try:
            found.set_result(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except Exception as error:
            found.set_exception(error)

    Thread(target=run, name="keystead-mail-lookup", daemon=True).start()
    return await asyncio.wrap_future(found)


async def _start_tls(client: aiosmtplib.SMTP, server: MailServer) -> None:
    if client.supports_extension("starttls"):
        await client.starttls()
        # What the server said before TLS is discarded (RFC 3207 §4.2).
        await client.ehlo()
    elif server.encryption is Encryption.required:
        raise DeliveryFailed("the mail server does not offer STARTTLS, which is required")


async def _log_in(client: aiosmtplib.SMTP, server: MailServer) -> None:
    user, password = server.user, server.password
    if user is None or password is None:
        return
    if client.get_transport_info("sslcontext") is None and not server.is_local:
        raise DeliveryFailed("the password is not sent over an unencrypted connection")
    ways = {"plain": client.auth_plain, "login": client.auth_login}
    offered = [way for way in ways if way in client.server_auth_methods]
    if not offered:
        raise DeliveryFailed("the mail server offers neither AUTH PLAIN nor AUTH LOGIN")
    await ways[offered[0]](user, password)


def _tls_context() -> ssl.SSLContext:
    """Verify certificates and host names; ``SSL_CERT_FILE`` replaces the system's CA certificates."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _name_recipient(client: aiosmtplib.SMTP, recipient: str) -> None:
    try:
        await client.rcpt(recipient, encoding="utf-8")
    except ValueError:
        raise DeliveryRefused("the recipient's address cannot be written in SMTP") from None


def _as_data(content: bytes) -> bytes:
    """RFC 5321 §2.3.8 and §4.5.2: CRLF line ends, dot-stuffing, and the final dot."""
    lines = _LINE_END.sub(b"\r\n", content)
    end = b".\r\n" if lines.endswith(b"\r\n") else b"\r\n.\r\n"
    return _FIRST_DOT.sub(b"..", lines) + end


@contextmanager
def _closed_by_errors(client: aiosmtplib.SMTP) -> Iterator[None]:
    """Close the connection when the block raises, except after a plain rejection by the server."""
    try:
        yield
    except DeliveryRefused:
        raise
    except BaseException as error:
        # 421: the server hangs up. Codes out of range are not SMTP.
        if not isinstance(error, aiosmtplib.SMTPResponseException) or not 422 <= error.code < 600:
            client.close()
        raise
