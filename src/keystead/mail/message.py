"""Build the MIME message of a rendered mail: RFC 5322, RFC 2045, RFC 3834.

Header lines are encoded here, which rules out header injection (A66). The standard library would parse a value first:
it decodes encoded words (RFC 2047) in user input, including their line breaks, and folds long addresses in the middle.
"""

from __future__ import annotations

import re
import unicodedata
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from email.utils import format_datetime, quote
from typing import Any, Final

from keystead.mail.model import Mail, RenderedMail
from keystead.mail.transport import DeliveryRefused
from keystead.settings.outgoing_mail import MailFrom

LONGEST_SUBJECT: Final = 200
LONGEST_LINE: Final = 76
"""Of a folded header; RFC 5322 §2.1.1 recommends 78, RFC 2047 §2 requires 76."""
LONGEST_WORD: Final = 60
"""A longer word cannot be folded and is encoded."""

# Line ends, invisible characters and direction overrides. Joiners are part of words and emoji.
_UNPRINTED: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS: Final = ("\u200c", "\u200d")
# Atoms and dots, or non-ASCII letters (RFC 6532): no character that could separate addresses.
_LOCAL_PART = re.compile(r"[^\s\x00-\x1f\x7f\"(),:;<>@\[\\\]]+")
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*", re.ASCII)


def build_message(mail: Mail, rendered: RenderedMail, mail_from: MailFrom) -> EmailMessage:
    """Build the multipart message: text, HTML, and always the same eight headers.

    Identical for each attempt, with the same ``Message-ID``.

    :raises DeliveryRefused: when the recipient is not a valid address; stored addresses have been checked.
    """
    recipient = envelope_address(mail.recipient)
    message = EmailMessage(policy=SMTP if recipient.isascii() else SMTPUTF8)
    _head(message, "From", _mailbox(mail_from))
    _head(message, "To", recipient)
    subject = one_line(rendered.subject)
    _head(message, "Subject", _encoded("Subject", subject), subject)
    _head(message, "Date", format_datetime(mail.created_at))
    _head(message, "Message-ID", f"<{mail.id}@{mail_from.domain}>")
    # RFC 3834 §5: no automatic replies.
    _head(message, "Auto-Submitted", "auto-generated")
    # Always encoded: no line is too long, and none is altered in transit.
    message.set_content(_encodable(rendered.text), cte="quoted-printable")
    message.add_alternative(_encodable(rendered.html), subtype="html", cte="quoted-printable")
    # "=_" cannot occur in quoted-printable text (RFC 2045 §6.7).
    message.set_boundary(f"=_{mail.id}")
    return message


def envelope_address(address: str) -> str:
    """The address for SMTP: the domain in ASCII (IDNA 2008), the local part as stored.

    :raises DeliveryRefused: when it is not a valid address.
    """
    local, _, domain = address.rpartition("@")
    domain = domain if domain.isascii() else _ascii_domain(domain)
    if not _LOCAL_PART.fullmatch(local) or not local.isprintable() or not _DOMAIN.fullmatch(domain):
        raise DeliveryRefused("the recipient is not a valid mail address")
    return f"{local}@{domain}"


def _ascii_domain(domain: str) -> str:
    # Imported only when needed: its tables take megabytes.
    import idna

    try:
        return idna.encode(unicodedata.normalize("NFC", domain.lower()), strict=True).decode("ascii")
    except UnicodeError:  # idna.IDNAError is one
        return ""


def one_line(text: str) -> str:
    """``text`` on one line of at most 200 characters, without control and invisible characters."""
    shown = ("".join(" " if _is_unprinted(character) else character for character in text)).split()
    return " ".join(shown)[:LONGEST_SUBJECT].rstrip()


def _encodable(text: str) -> str:
    """``text`` without lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_unprinted(character: str) -> bool:
    return unicodedata.category(character) in _UNPRINTED and character not in _JOINERS


def _mailbox(mail_from: MailFrom) -> str:
    name = one_line(mail_from.name)
    if not name:
        return mail_from.address
    # A quoted string needs no folding.
    phrase = f'"{quote(name)}"' if name.isascii() and "=?" not in name else _encoded("From", name)
    return f"{phrase}\r\n <{mail_from.address}>"


def _encoded(header: str, text: str) -> str:
    """The text encoded and folded for the header."""
    charset = "us-ascii" if _is_plain(text) else "utf-8"
    return Header(text, charset, maxlinelen=LONGEST_LINE, header_name=header).encode(linesep="\r\n")


def _is_plain(text: str) -> bool:
    """Whether the text needs no encoding. Text that only looks like an encoded word does, to arrive unchanged."""
    return text.isascii() and "=?" not in text and all(len(word) <= LONGEST_WORD for word in text.split())


def _head(message: EmailMessage, name: str, wire: str, text: str | None = None) -> None:
    # Defense in depth: the functions above let no line break through.
    if not wire.replace("\r\n ", "").isprintable():
        raise DeliveryRefused(f"its header {name} contains control characters")
    message[name] = _Line(wire if text is None else text, name, wire)


class _Line(str):
    """A header value that is written unchanged: policies do not parse one with a ``name`` (``header_store_parse``)."""

    name: str
    _wire: str

    def __new__(cls, text: str, name: str, wire: str) -> _Line:
        line = super().__new__(cls, text)
        line.name, line._wire = name, wire
        return line

    # Attributes that EmailMessage and its policies read.
    defects: tuple[Any, ...] = ()
    max_count = 1

    def fold(self, *, policy: EmailPolicy) -> str:
        """The header's lines, for the generator."""
        return f"{self.name}: {self._wire}{policy.linesep}"
