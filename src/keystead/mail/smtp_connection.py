"""From a mail server's settings to a conversation in which mails can be sent: connected, encrypted, logged in."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

import aiosmtplib

from keystead.aio import within
from keystead.mail import smtp
from keystead.mail.transport import DeliveryFailed
from keystead.settings.outgoing_mail import Encryption, MailServer


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after which a server has taken too long."""

    connect: float = 10.0
    """For its name to be found, for each of its addresses to answer, and for TLS."""
    command: float = 20.0
    whole: float = 60.0
    """From connecting to where the server asks for the mail."""
    acceptance: float = 240.0
    """From the mail to the word that it is taken. Servers look long at a whole mail; RFC 5321 §4.5.3.2.6 gives them ten
    minutes, which is as long as a link for logging in is good."""
    goodbye: float = 2.0


async def connected(server: MailServer, hostname: str, limits: Limits) -> aiosmtplib.SMTP:
    """A conversation with the server, encrypted and logged in as its settings say; ``hostname`` is what we are called.

    :raises DeliveryFailed: when it cannot be as they say.
    :raises aiosmtplib.SMTPException: when something else went wrong; so do OSError and ValueError.
    """
    # Reading the system's certificates takes a while. They are read each time: they change while we run.
    tls_context = None if server.encryption is Encryption.off else await asyncio.to_thread(_tls_context)
    client = aiosmtplib.SMTP(
        # Whom the certificate is to name.
        hostname=server.host,
        local_hostname=hostname,
        timeout=limits.command,
        use_tls=server.encryption is Encryption.implicit,
        start_tls=False,
        tls_context=tls_context,
    )
    try:
        opened = await smtp.connect(await _addresses(server, limits), limits.connect)
        await client.connect(sock=opened, timeout=limits.connect)
        await client.ehlo()
        if server.encryption in (Encryption.required, Encryption.offered):
            await _start_tls(client, server)
        await _log_in(client, server)
    except BaseException:
        client.close()
        raise
    return client


async def _addresses(server: MailServer, limits: Limits) -> list[smtp.Address]:
    try:
        return await within(limits.connect, smtp.addresses_of(server.host, server.port))
    except TimeoutError:
        raise DeliveryFailed("looking up the mail server's name took too long") from None


async def _start_tls(client: aiosmtplib.SMTP, server: MailServer) -> None:
    if client.supports_extension("starttls"):
        await client.starttls()
        # What was said in the clear counts no more (RFC 3207 §4.2).
        await client.ehlo()
    elif server.encryption is Encryption.required:
        raise DeliveryFailed("the mail server offers no STARTTLS, and nothing is said to it in the clear")


async def _log_in(client: aiosmtplib.SMTP, server: MailServer) -> None:
    user, password = server.user, server.password
    if user is None or password is None:
        return
    if client.get_transport_info("sslcontext") is None and not server.is_here:
        raise DeliveryFailed("the password is not sent in the clear")
    ways = {"plain": client.auth_plain, "login": client.auth_login}
    offered = [way for way in ways if way in client.server_auth_methods]
    if not offered:
        raise DeliveryFailed("the mail server offers no login by PLAIN or LOGIN")
    await ways[offered[0]](user, password)


def _tls_context() -> ssl.SSLContext:
    """Certificates are verified, and so is the name in them; ``SSL_CERT_FILE`` says whom to trust instead."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
