"""Checks of ``keystead doctor`` that need no database: settings, files, master key, mail server."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from keystead.crypto.master_key import GUESSABLE_ADVICE, MasterKey, key_file_beside, load_master_key, missing_key_file
from keystead.errors import StartupError
from keystead.mail.smtp import Limits, SmtpTransport
from keystead.mail.transport import DeliveryError
from keystead.settings import Settings
from keystead.settings.outgoing_mail import MailServer

MAIL_SERVER_LIMITS: Final = Limits(connect=5, command=5, whole=10, goodbye=1)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Status(StrEnum):
    """Result of a check. A failure has to be fixed before the server is relied on."""

    ok = "ok"
    warning = "warning"
    failure = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    status: Status
    detail: str


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Unknown settings, throttling, base URL, trusted proxies."""
    for warning in settings.warnings:
        yield Finding("settings", Status.warning, warning)
    if not settings.warnings:
        yield Finding("settings", Status.ok, "every setting is known")
    if settings.throttling:
        detail = "of mails only: logins are not limited yet, put a rate limit in front of a server on the internet"
        yield Finding("throttling", Status.warning, detail)
    else:
        yield Finding("throttling", Status.failure, "KEYSTEAD_THROTTLING=off: mails to an address are not limited")
    yield _base_url(settings)
    yield _proxies(settings)


def _base_url(settings: Settings) -> Finding:
    parts = urlsplit(settings.base_url)
    if parts.hostname not in _LOOPBACK and parts.scheme != "https":
        return Finding("base_url", Status.warning, f"{settings.base_url} is not https: tokens are sent in the clear")
    return Finding("base_url", Status.ok, settings.base_url)


def _proxies(settings: Settings) -> Finding:
    if settings.trusted_proxies:
        listed = ", ".join(map(str, settings.trusted_proxies))
        return Finding("trusted_proxies", Status.ok, f"{listed}: an application server with the SDK must be among them")
    hint = "none: a proxy, or an application server with the SDK, must be listed in KEYSTEAD_TRUSTED_PROXIES"
    is_local = urlsplit(settings.base_url).hostname in _LOOPBACK
    return Finding("trusted_proxies", Status.ok if is_local else Status.warning, hint)


def check_files(settings: Settings) -> Iterator[Finding]:
    """Files with secrets or hashes must be accessible to their owner only."""
    database = settings.sqlite_file
    own = [database, database and Path(f"{database}-wal"), key_file_beside(settings.database_url)]
    for path in own:
        if path is not None and path.exists():
            yield _mode(path, Status.failure)
    if settings.master_key_file is not None and Path(settings.master_key_file).exists():
        # Mounted secrets are often readable by a group that the operator chose.
        yield _mode(Path(settings.master_key_file), Status.warning)


def _mode(path: Path, when_open: Status) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        return Finding("file_mode", when_open, f"{path} is accessible to other users ({mode:04o}): chmod 600 it")
    return Finding("file_mode", Status.ok, f"{path} ({mode:04o})")


def check_master_key(settings: Settings) -> tuple[MasterKey | None, Finding]:
    """The master key, or None if it cannot be loaded."""
    if missing_key_file(settings) is not None:
        return None, Finding("master_key", Status.warning, "does not exist yet: the first start creates it")
    try:
        key = load_master_key(settings)
    except StartupError as error:
        return None, Finding("master_key", Status.failure, error.message)
    if key.is_guessable:
        return key, Finding("master_key", Status.failure, f"easy to guess: {GUESSABLE_ADVICE}")
    return key, Finding("master_key", Status.ok, "long enough")


async def check_sending(settings: Settings) -> AsyncIterator[Finding]:
    """Whether mails can be sent, by a real SMTP session: TLS, login, NOOP. No mail is sent."""
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


async def _mail_server(server: MailServer, hostname: str) -> Finding:
    place = f"{server.host}:{server.port}"
    transport = SmtpTransport(server, hostname, MAIL_SERVER_LIMITS)
    try:
        tls = await transport.check()
    except DeliveryError as error:
        return Finding("mail_server", Status.failure, f"{place}: {error.reason}")
    finally:
        await transport.close()
    if tls is None and not server.is_local:
        return Finding("mail_server", Status.warning, f"{place}: mails, and the links in them, are sent in the clear")
    login = "" if server.user is None else ", the login is accepted"
    return Finding("mail_server", Status.ok, f"{place}, {tls or 'no TLS on this machine'}{login}")
