"""``Settings``: everything an operator can set, with its default and, where a type can say it, its rule."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from keystead.settings.database_url import sqlite_path
from keystead.settings.outgoing_mail import (
    MailFrom,
    MailServer,
    default_mail_from,
    parse_mail_from,
    parse_mail_server,
)

DEFAULT_PORT = 4000
SECRET_SETTINGS = ("master_key", "database_url", "smtp_url")
"""Settings with a variant ``KEYSTEAD_..._FILE``, which names a file whose content is the value."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The descriptions complete the error message "must be ...".
Text = Annotated[str, Meta(min_length=1, description="text")]
Switch = Annotated[bool, Meta(description="on or off")]
Port = Annotated[int, Meta(ge=1, le=65_535, description="a port number between 1 and 65535")]
ConnectionLimit = Annotated[int, Meta(ge=8, le=1_000_000, description="a number between 8 and 1000000")]
KeepAlive = Annotated[int, Meta(ge=1, le=3600, description="a number of seconds between 1 and 3600")]
Introspection = Annotated[
    Literal["public", "authenticated", "admin"], Meta(description="one of public, authenticated, admin")
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], Meta(description="one of debug, info, warning, error")
]
LogFormat = Annotated[Literal["json", "console"], Meta(description="one of json, console")]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process. Secrets are hidden in ``repr``."""

    database_url: str = field(default="sqlite:///keystead.db", repr=False)
    master_key: str | None = field(default=None, repr=False)
    master_key_file: Text | None = None
    base_url: str = f"http://localhost:{DEFAULT_PORT}"
    default_brand: Text | None = None
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    api_key_headers: tuple[str, ...] = ("keystead-api-key", "pylo-api-key", "x-api-key")
    brand_headers: tuple[str, ...] = ("keystead-brand-authorization", "yoli-brand-authorization")
    introspection: Introspection = "authenticated"
    throttling: Switch = True
    smtp_url: str | None = field(default=None, repr=False)
    mail_from: str | None = None
    metrics_port: Port | None = None
    max_connections: ConnectionLimit | None = None
    keep_alive: KeepAlive = 75
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"
    graphiql: bool = False
    """Not a setting of operators: development only."""
    mailbox: bool = False
    """Not a setting of operators: development only."""
    is_base_url_chosen: bool = False
    """Whether the operator set ``base_url``; otherwise it follows the server's port."""
    warnings: tuple[str, ...] = ()

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a SQLite file."""
        return self.sqlite_file is not None

    @property
    def sqlite_file(self) -> Path | None:
        """The file of a SQLite database; None with PostgreSQL."""
        path = sqlite_path(self.database_url)
        return None if path is None else Path(path)

    @property
    def mail_server(self) -> MailServer | None:
        """The SMTP server for outgoing mail; without one mails stay in the outbox."""
        return parse_mail_server(self.smtp_url) if self.smtp_url else None

    @property
    def mail_sender(self) -> MailFrom:
        """The From address of outgoing mail."""
        return parse_mail_from(self.mail_from) if self.mail_from else default_mail_from(self.base_url)
