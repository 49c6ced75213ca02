"""What ``keystead doctor`` looks at for mail: the server, the sender, links, the outbox. No mail is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from keystead.brands.model import Brand
from keystead.cli.findings import Finding, Status, list_names
from keystead.db.interface import Database
from keystead.mail import outbox
from keystead.mail.model import MailState
from keystead.mail.smtp import Limits, SmtpTransport
from keystead.mail.transport import DeliveryError
from keystead.settings import Settings
from keystead.settings.outgoing_mail import MailServer

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


def examine_links(settings: Settings, brands: Sequence[Brand]) -> Finding:
    """Whether somebody said where links in mails begin: only a server knows the port that is the default."""
    if settings.is_base_url_chosen:
        return Finding("links", Status.ok, f"begin with {settings.base_url} where a brand has no address of its own")
    unsaid = [brand.name for brand in brands if brand.base_url is None and not brand.is_disabled and _has_links(brand)]
    if unsaid:
        detail = f"begin with the default, {settings.base_url}, in {list_names(unsaid)}: set KEYSTEAD_BASE_URL"
        return Finding("links", Status.warning, detail)
    return Finding("links", Status.ok, "begin with each brand's own address")


def _has_links(brand: Brand) -> bool:
    features = brand.features
    return features.email_verification or features.magic_login or (features.password_reset and features.password_login)


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
