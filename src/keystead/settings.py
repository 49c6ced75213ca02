"""One frozen ``Settings``: ``keystead.toml`` below ``KEYSTEAD_*`` of the environment, read once, checked at once.

Contract §7 names the settings. A bad value is a :class:`~keystead.errors.SettingsError` that names the setting;
an unknown ``KEYSTEAD_*`` variable is a warning, since a newer release may know it.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keystead.database_url import PostgresUrl, parse_database_url, sqlite_path
from keystead.errors import SettingsError
from keystead.hosts import parse_place
from keystead.outgoing_mail import (
    MailFrom,
    MailServer,
    default_mail_from,
    is_mail_domain,
    parse_mail_from,
    parse_mail_server,
)

PREFIX = "KEYSTEAD_"
DEFAULT_PORT = 4000
SECRET_SETTINGS = ("master_key", "database_url", "smtp_url", "valkey_url")
OUTSIDE_SETTINGS = ("KEYSTEAD_CONFIG", "KEYSTEAD_TEST_POSTGRES")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 3986 §3.3. Nobody has to escape what is none of these, in a page or in a mail.
_URL_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can set. Secrets are hidden in ``repr``."""

    database_url: str = field(default="sqlite:///keystead.db", repr=False)
    master_key: str | None = field(default=None, repr=False)
    master_key_file: str | None = None
    base_url: str = f"http://localhost:{DEFAULT_PORT}"
    default_brand: str | None = None
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    api_key_headers: tuple[str, ...] = ("keystead-api-key", "pylo-api-key", "x-api-key")
    brand_headers: tuple[str, ...] = ("keystead-brand-authorization", "yoli-brand-authorization")
    introspection: str = "authenticated"
    throttling: bool = True
    smtp_url: str | None = field(default=None, repr=False)
    mail_from: str | None = None
    valkey_url: str | None = field(default=None, repr=False)
    metrics_port: int | None = None
    max_connections: int | None = None
    keep_alive: int = 75
    log_level: str = "info"
    log_format: str = "json"
    graphiql: bool = False
    mailbox: bool = False
    is_base_url_chosen: bool = False
    """Whether somebody set ``base_url``: what it is otherwise, the port of the server decides."""
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
        """The server that takes our mails; without one they stay in the outbox."""
        return parse_mail_server(self.smtp_url) if self.smtp_url else None

    @property
    def mail_sender(self) -> MailFrom:
        """Whom our mails are from."""
        return parse_mail_from(self.mail_from) if self.mail_from else default_mail_from(self.base_url)


def load_settings(
    environ: Mapping[str, str],
    *,
    folder: Path | None = None,
    defaults: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings of this process.

    ``defaults`` stand below the file and the environment, ``overrides`` above; both are already of the right type.

    :raises SettingsError: when a value is bad or a named file cannot be read.
    """
    raw = _from_file(environ, folder or Path.cwd()) | _from_environment(environ)
    values = dict(defaults or {})
    values |= {name: (_PARSERS.get(name) or _text)(origin, value) for name, (origin, value) in raw.items()}
    values |= {"is_base_url_chosen": "base_url" in raw, **(overrides or {})}
    settings = Settings(**values, warnings=tuple(_unknown(environ)))
    settings = replace(settings, warnings=(*settings.warnings, *_doubtful(settings)))
    if settings.smtp_url and not is_mail_domain(settings.mail_sender.domain):
        raise SettingsError("KEYSTEAD_MAIL_FROM: must be set: mail cannot be from the host of KEYSTEAD_BASE_URL")
    return settings


def _from_file(environ: Mapping[str, str], folder: Path) -> dict[str, tuple[str, Any]]:
    named = environ.get("KEYSTEAD_CONFIG")
    path = Path(named) if named else folder / "keystead.toml"
    if not named and not path.exists():
        return {}
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"KEYSTEAD_CONFIG: cannot read {path}: {_reason(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    for name in document:
        if name not in _NAMES:
            raise SettingsError(f"{path}: unknown setting '{name}'")
    return {name: (f"{path}: {name}", value) for name, value in document.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for name in _NAMES:
        variable = PREFIX + name.upper()
        if environ.get(variable):
            found[name] = (variable, environ[variable])
        elif name in SECRET_SETTINGS and name != "master_key" and environ.get(f"{variable}_FILE"):
            found[name] = (f"{variable}_FILE", _secret_file(f"{variable}_FILE", environ[f"{variable}_FILE"]))
    return found


def _secret_file(origin: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8").rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{origin}: cannot read {path}: {_reason(error)}") from None


def _unknown(environ: Mapping[str, str]) -> list[str]:
    known = {PREFIX + name.upper() for name in _NAMES} | set(OUTSIDE_SETTINGS)
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRET_SETTINGS}
    return [
        f"{name} is not a setting of this release"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known
    ]


def _doubtful(settings: Settings) -> list[str]:
    parsed = parse_database_url(settings.database_url)
    warnings = parsed.warnings if isinstance(parsed, PostgresUrl) else ()
    return [f"KEYSTEAD_DATABASE_URL: {warning}" for warning in warnings]


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "not UTF-8 text"


def _text(origin: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{origin}: must be text")
    return value.strip()


def _verbatim(origin: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"{origin}: must be text")
    return value


def _one_of(*choices: str) -> Callable[[str, Any], str]:
    def parse(origin: str, value: Any) -> str:
        text = _text(origin, value).lower()
        if text not in choices:
            raise SettingsError(f"{origin}: must be one of {', '.join(choices)}")
        return text

    return parse


def _switch(origin: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = _text(origin, value).lower()
    if text not in ("on", "off"):
        raise SettingsError(f"{origin}: must be on or off")
    return text == "on"


def _number(what: str, least: int, most: int) -> Callable[[str, Any], int]:
    def parse(origin: str, value: Any) -> int:
        text = str(value).strip()
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise SettingsError(f"{origin}: must be {what} between {least} and {most}")
        return int(text)

    return parse


def _words(origin: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(_text(origin, item) for item in value)
    return tuple(part.strip() for part in _text(origin, value).split(",") if part.strip())


def _header_names(origin: str, value: Any) -> tuple[str, ...]:
    names = tuple(name.lower() for name in _words(origin, value))
    if not names or not all(name.replace("-", "").isalnum() and name.isascii() for name in names):
        raise SettingsError(f"{origin}: must be a list of header names")
    if {"authorization", "cookie", "origin"} & set(names):
        raise SettingsError(f"{origin}: a header with a meaning of its own cannot be taken")
    return names


def _networks(origin: str, value: Any) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in _words(origin, value))
    except ValueError:
        raise SettingsError(f"{origin}: must be a list of IP addresses or networks") from None


def _http_url(origin: str, value: Any) -> str:
    text = _text(origin, value).rstrip("/")
    if not _is_http_url(text):
        raise SettingsError(f"{origin}: must be an http or https address without user, query or fragment")
    return text


def _is_http_url(text: str) -> bool:
    # urlsplit() leaves some characters out instead of refusing them.
    if not text.isascii() or not text.isprintable() or set(" ?#") & set(text):
        return False
    try:
        parts = urlsplit(text)
        parse_place(parts.netloc)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(_URL_PATH.fullmatch(parts.path))


def _origins(origin: str, value: Any) -> tuple[str, ...]:
    words = _words(origin, value)
    for word in words:
        if word != "*" and _http_url(origin, word).count("/") != 2:
            raise SettingsError(f"{origin}: must be '*' or a list of origins such as https://app.example.com")
    return tuple(word.rstrip("/").lower() for word in words)


def _read_by(parse: Callable[[str], object]) -> Callable[[str, Any], str]:
    """Text that ``parse`` understands, kept as it was written."""

    def check(origin: str, value: Any) -> str:
        text = _text(origin, value)
        try:
            parse(text)
        except ValueError as error:
            raise SettingsError(f"{origin}: {error}") from None
        return text

    return check


def _database_url(origin: str, value: Any) -> str:
    text = _read_by(parse_database_url)(origin, value)
    return "postgresql://" + text.removeprefix("postgres://") if text.startswith("postgres://") else text


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "database_url": _database_url,
    "master_key": _verbatim,
    "base_url": _http_url,
    "cors_origins": _origins,
    "trusted_proxies": _networks,
    "api_key_headers": _header_names,
    "brand_headers": _header_names,
    "introspection": _one_of("public", "authenticated", "admin"),
    "throttling": _switch,
    "smtp_url": _read_by(parse_mail_server),
    "mail_from": _read_by(parse_mail_from),
    "metrics_port": _number("a port number", 1, 65_535),
    "max_connections": _number("a number", 8, 1_000_000),
    "keep_alive": _number("a number of seconds", 1, 3600),
    "log_level": _one_of("debug", "info", "warning", "error"),
    "log_format": _one_of("json", "console"),
}
_NOT_SET = ("warnings", "graphiql", "mailbox", "is_base_url_chosen")
_NAMES = tuple(f.name for f in fields(Settings) if f.name not in _NOT_SET)
