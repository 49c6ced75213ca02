"""What ``keystead doctor`` looks at for mail: the server, the sender, the outbox. No mail is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Final

from keystead.cli.findings import Finding, Status
from keystead.db.engine import Database
from keystead.mail import outbox
from keystead.mail.model import MailState
from keystead.mail.sender import DeliveryError, Limits, SmtpTransport
from keystead.outgoing_mail import MailServer
from keystead.settings import Settings

LATE: Final = timedelta(minutes=15)
"""After so long a mail has failed a few times, or nobody delivers any."""
PATIENCE: Final = Limits(connect=5, command=5, whole=10, goodbye=1)


async def examine_sending(settings: Settings) -> AsyncIterator[Finding]:
    """Whether mails can go out, by a real conversation: TLS, login, NOOP."""
    server = settings.mail_server
    if server is None:
        yield Finding("mail_server", Status.warning, "KEYSTEAD_SMTP_URL is not set: mails stay in the outbox")
        return
    yield await _mail_server(server, settings.mail_sender.domain)
    address = settings.mail_sender.address
    if settings.mail_from is None:
        detail = f"KEYSTEAD_MAIL_FROM is not set: mails are from {address}, which the mail server may refuse"
        yield Finding("mail_from", Status.warning, detail)
    else:
        yield Finding("mail_from", Status.ok, address)


async def examine_outbox(db: Database, now: datetime) -> Finding:
    """Whether mails go out."""
    dead = (await outbox.count_states(db)).get(MailState.dead, 0)
    late = await outbox.count_late(db, now - LATE)
    said = []
    if dead:
        said.append(f"{_mails(dead)} given up: keystead mail list --state dead")
    if late:
        said.append(
            f"{_mails(late)} waiting for more than {LATE.seconds // 60} min: keystead mail list --state waiting"
        )
    return Finding("outbox", Status.warning if said else Status.ok, "; ".join(said) or "no mail waits for long")


async def _mail_server(server: MailServer, hostname: str) -> Finding:
    place = f"{server.host}:{server.port}"
    transport = SmtpTransport(server, hostname, PATIENCE)
    try:
        tls = await transport.check()
    except DeliveryError as error:
        return Finding("mail_server", Status.failure, f"{place}: {error.reason}")
    finally:
        await transport.close()
    if tls is None and not server.is_here:
        return Finding("mail_server", Status.warning, f"{place}: mails, and the links in them, travel in the clear")
    login = "" if server.user is None else ", the login is accepted"
    return Finding("mail_server", Status.ok, f"{place}, {tls or 'no TLS on this machine'}{login}")


def _mails(count: int) -> str:
    return "1 mail" if count == 1 else f"{count} mails"
