"""Parse the SMTP server and the From address of outgoing mail. Pure.

Every ``ValueError`` is one line that does not quote the setting, which may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from keystead.settings.hosts import parse_place

IMPLICIT_TLS_PORT: Final = 465
"""RFC 8314 §3.3."""
SUBMISSION_PORT: Final = 587
"""RFC 6409 §3.1."""
LONGEST_NAME: Final = 100
LONGEST_DOMAIN: Final = 253

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}", re.ASCII)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*", re.ASCII)
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

_FORMS = "smtps://user:password@host or smtp://[user:password@]host[:port], with user and password percent-encoded"


class Encryption(StrEnum):
    """The encryption of an SMTP connection."""

    implicit = "implicit"
    """TLS from the first byte."""
    required = "required"
    """STARTTLS is required."""
    offered = "offered"
    """STARTTLS when the server offers it (opportunistic)."""
    off = "off"
    """No encryption."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """The SMTP server for outgoing mail."""

    host: str
    """A name or an IP address, lower-cased, no brackets."""
    port: int
    encryption: Encryption
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine (loopback)."""
        return _is_local(self.host)


@dataclass(frozen=True, slots=True)
class MailFrom:
    """The From address of outgoing mail."""

    name: str
    """Shown beside the address; may be empty."""
    address: str
    """ASCII only, which every server accepts."""

    @property
    def domain(self) -> str:
        """The domain of the address, also used in Message-ID and EHLO."""
        return self.address.rpartition("@")[2]


def parse_mail_server(url: str) -> MailServer:
    """Parse ``KEYSTEAD_SMTP_URL``.

    With a login, STARTTLS is required unless the server is on this machine, so that stripping STARTTLS reveals no
    password.

    :raises ValueError: when it is invalid.
    """
    parts = _split(url)
    try:
        host, port = parse_place(parts.netloc.rpartition("@")[2])
    except ValueError:
        raise ValueError(f"must be {_FORMS}") from None
    user, password = _login(parts)
    encryption = _encryption(parts, has_login=user is not None, is_local=_is_local(host))
    usual_port = IMPLICIT_TLS_PORT if encryption is Encryption.implicit else SUBMISSION_PORT
    return MailServer(host, port or usual_port, encryption, user, password)


def parse_mail_from(text: str) -> MailFrom:
    """Parse ``KEYSTEAD_MAIL_FROM``: an address, or ``Name <address>``.

    :raises ValueError: for anything else, such as several addresses or lines.
    """
    named = _NAMED.fullmatch(text.strip())
    name, raw = (named["name"].strip(), named["address"]) if named else ("", text.strip())
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].strip()
    local, _, domain = raw.rpartition("@")
    domain = domain.lower()
    if not _LOCAL_PART.fullmatch(local) or len(local) > 64 or domain.startswith("[") or not is_mail_domain(domain):
        raise ValueError("must be one address, 'no-reply@example.com' or 'Name <no-reply@example.com>', in ASCII")
    # "=?" starts an encoded word (RFC 2047), which would display as another name.
    if not name.isprintable() or len(name) > LONGEST_NAME or set('"\\@,;') & set(name) or "=?" in name:
        raise ValueError(
            f'the name must be one line of at most {LONGEST_NAME} characters, none of them one of " \\ @ , ;'
        )
    return MailFrom(name, f"{local}@{domain}")


def default_mail_from(base_url: str) -> MailFrom:
    """``no-reply@`` the host of the server's own address."""
    host = urlsplit(base_url).hostname or "localhost"
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return MailFrom("", f"no-reply@{host}")
    # An address literal, RFC 5321 §4.1.3.
    return MailFrom("", f"no-reply@[{'IPv6:' if version == 6 else ''}{host}]")


def is_mail_domain(domain: str) -> bool:
    """Whether the domain can be that of an e-mail address; host names with underscores cannot."""
    return domain.startswith("[") or (len(domain) <= LONGEST_DOMAIN and bool(_DOMAIN.fullmatch(domain)))


def _split(url: str) -> SplitResult:
    invalid = ValueError(f"must be {_FORMS}")
    # urlsplit() drops line breaks instead of rejecting them.
    if not url.isascii() or not url.isprintable() or " " in url:
        raise invalid
    try:
        parts = urlsplit(url)
    except ValueError:
        raise invalid from None
    if parts.scheme not in ("smtp", "smtps") or parts.path not in ("", "/") or "#" in url:
        raise invalid
    return parts


def _login(parts: SplitResult) -> tuple[str | None, str | None]:
    if parts.username is None and parts.password is None:
        return None, None
    if not parts.username or not parts.password:
        raise ValueError("must name a user and a password, or neither")
    return _decoded(parts.username), _decoded(parts.password)


def _decoded(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        decoded = ""
    # Control characters are not allowed in a login (RFC 4616 §2), or end the line.
    if not decoded.isprintable() or not decoded or _BAD_ESCAPE.search(text):
        raise ValueError("user and password must be percent-encoded UTF-8, without control characters")
    return decoded


def _encryption(parts: SplitResult, *, has_login: bool, is_local: bool) -> Encryption:
    options = parse_qsl(parts.query, keep_blank_values=True)
    asked = options[0][1] if options else None
    is_known = options in ([], [("starttls", "required")], [("starttls", "off")])
    if not is_known or (options and parts.scheme == "smtps"):
        raise ValueError("only smtp:// takes an option, and it is starttls=required or starttls=off, once")
    if parts.scheme == "smtps":
        return Encryption.implicit
    if asked == "off" and has_login and not is_local:
        raise ValueError(
            "with starttls=off a password would travel in the clear: only a server on this machine may get it"
        )
    if asked is not None:
        return Encryption(asked)
    return Encryption.required if has_login and not is_local else Encryption.offered


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
