"""Load ``Settings``: ``keystead.toml``, overridden by ``KEYSTEAD_*`` variables, validated as they are read.

docs/settings.md lists the settings. A bad value is a :class:`~keystead.errors.SettingsError` that names the setting;
an unknown ``KEYSTEAD_*`` variable is a warning, since a newer release may know it.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec

from keystead.errors import SettingsError
from keystead.settings.database_url import PostgresUrl, parse_database_url
from keystead.settings.hosts import parse_place
from keystead.settings.model import SECRET_SETTINGS, Network, Settings, Text
from keystead.settings.outgoing_mail import is_mail_domain, parse_mail_from, parse_mail_server

PREFIX = "KEYSTEAD_"
OUTSIDE_SETTINGS = ("KEYSTEAD_CONFIG", "KEYSTEAD_TEST_POSTGRES")
"""Variables that are read elsewhere."""

# RFC 3986 §3.3, without the characters that would need escaping in a page or mail.
_URL_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII)
_SWITCH = {"on": True, "off": False}


def load_settings(
    environ: Mapping[str, str],
    *,
    folder: Path | None = None,
    defaults: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Load the settings of this process.

    ``defaults`` have lower precedence than file and environment, ``overrides`` higher; both are of the right types
    already.

    :raises SettingsError: when a value is bad or a named file cannot be read.
    """
    raw = _from_file(environ, folder or Path.cwd()) | _from_environment(environ)
    values = dict(defaults or {})
    values |= {name: _parse(name, origin, value) for name, (origin, value) in raw.items()}
    values |= {"is_base_url_chosen": "base_url" in raw, **(overrides or {})}
    settings = Settings(**values)
    settings = replace(settings, warnings=(*_unknown(environ), *_url_warnings(settings)))
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
        if name not in _RULES:
            raise SettingsError(f"{path}: unknown setting '{name}'")
    return {name: (f"{path}: {name}", value) for name, value in document.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for name in _RULES:
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


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "not UTF-8 text"


def _unknown(environ: Mapping[str, str]) -> list[str]:
    known = {PREFIX + name.upper() for name in _RULES} | set(OUTSIDE_SETTINGS)
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRET_SETTINGS}
    return [
        f"{name} is not a setting of this release"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known
    ]


def _url_warnings(settings: Settings) -> list[str]:
    parsed = parse_database_url(settings.database_url)
    warnings = parsed.warnings if isinstance(parsed, PostgresUrl) else ()
    return [f"KEYSTEAD_DATABASE_URL: {warning}" for warning in warnings]


def _parse(name: str, origin: str, value: Any) -> Any:
    parser = _PARSERS.get(name)
    return parser(origin, value) if parser else _convert(origin, value, _RULES[name])


def _convert(origin: str, value: Any, rule: Any) -> Any:
    """``value`` by the rule of an annotation of ``settings.model``; numbers, switches and choices may come as text."""
    is_text = isinstance(value, str)
    if is_text:
        text = value.strip()
        value = text.lower() if rule is not Text else text
        value = _SWITCH.get(value, value) if rule.__origin__ is bool else value
        if rule.__origin__ is int and text.isascii() and text.isdecimal() and len(text) < 20:
            value = int(text)
    try:
        return msgspec.convert(value, rule, strict=not is_text or rule.__origin__ in (bool, int))
    except msgspec.ValidationError:
        raise SettingsError(f"{origin}: must be {rule.__metadata__[0].description}") from None


def _verbatim(origin: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"{origin}: must be text")
    return value


def _words(origin: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(_convert(origin, word, Text) for word in value)
    return tuple(word.strip() for word in _convert(origin, value, Text).split(",") if word.strip())


def _header_names(origin: str, value: Any) -> tuple[str, ...]:
    names = tuple(name.lower() for name in _words(origin, value))
    if not names or not all(name.replace("-", "").isalnum() and name.isascii() for name in names):
        raise SettingsError(f"{origin}: must be a list of header names")
    if {"authorization", "cookie", "origin"} & set(names):
        raise SettingsError(f"{origin}: Authorization, Cookie and Origin cannot be used here")
    return names


def _networks(origin: str, value: Any) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in _words(origin, value))
    except ValueError:
        raise SettingsError(f"{origin}: must be a list of IP addresses or networks") from None


def _http_url(origin: str, value: Any) -> str:
    text: str = _convert(origin, value, Text).rstrip("/")
    if not _is_http_url(text):
        raise SettingsError(f"{origin}: must be an http or https address without user, query or fragment")
    return text


def _is_http_url(text: str) -> bool:
    # urlsplit() drops some characters instead of rejecting them.
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


def _accepted_by(parse: Callable[[str], object]) -> Callable[[str, Any], str]:
    """Text that ``parse`` accepts, kept as it was written."""

    def check(origin: str, value: Any) -> str:
        text: str = _convert(origin, value, Text)
        try:
            parse(text)
        except ValueError as error:
            raise SettingsError(f"{origin}: {error}") from None
        return text

    return check


def _database_url(origin: str, value: Any) -> str:
    text = _accepted_by(parse_database_url)(origin, value)
    return "postgresql://" + text.removeprefix("postgres://") if text.startswith("postgres://") else text


def _rule(hint: Any) -> Any:
    """The annotation that holds the rule: ``hint`` or, of ``rule | None``, its first part."""
    return next((part for part in (hint, *get_args(hint)) if hasattr(part, "__metadata__")), hint)


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "database_url": _database_url,
    "master_key": _verbatim,
    "base_url": _http_url,
    "cors_origins": _origins,
    "trusted_proxies": _networks,
    "api_key_headers": _header_names,
    "brand_headers": _header_names,
    "smtp_url": _accepted_by(parse_mail_server),
    "mail_from": _accepted_by(parse_mail_from),
}
_INTERNAL = ("warnings", "graphiql", "mailbox", "is_base_url_chosen")
_RULES = {
    name: _rule(hint) for name, hint in get_type_hints(Settings, include_extras=True).items() if name not in _INTERNAL
}
