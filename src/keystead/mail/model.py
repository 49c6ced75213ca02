"""Values of mails: kinds, states, new, stored and rendered mails.

No row contains a secret: the token of a link is derived from the mail's id (``links``), so that the database stores
only its digest and every attempt sends the same text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from keystead.crypto.secrets import SecretKind


class MailKind(StrEnum):
    """What a mail is about; also the name of its template."""

    verify_email = "verify_email"
    """A link that verifies an address."""
    change_email = "change_email"
    """A link that verifies an address and logs in."""
    magic_login = "magic_login"
    """A link that logs in."""
    reset_password = "reset_password"
    """A link to a new password."""
    address_taken = "address_taken"
    """To the owner of an address: another user tried to use it."""
    address_changed = "address_changed"
    """To the old address: the account has a new one."""
    password_changed = "password_changed"
    """To the owner: the password was changed."""
    session_reused = "session_reused"
    """To the owner: a rotated refresh token was reused, and the session was revoked."""


LINK_KINDS: dict[MailKind, SecretKind] = {
    MailKind.verify_email: SecretKind.verify,
    MailKind.change_email: SecretKind.magic,
    MailKind.magic_login: SecretKind.magic,
    MailKind.reset_password: SecretKind.reset,
}
"""The kind of token in the link of a mail; other mails have no link."""

LINK_PATHS: dict[SecretKind, str] = {
    SecretKind.verify: "/link/verify",
    SecretKind.magic: "/link/login",
    SecretKind.reset: "/link/reset",
}
"""The page behind a link, below the brand's base URL."""

LIMITED: frozenset[MailKind] = frozenset({*LINK_KINDS, MailKind.address_taken})
"""Mails that others than their recipient can cause: at most one per minute and five per hour (security §7)."""


class MailState(StrEnum):
    """Delivery state of a mail."""

    waiting = "waiting"
    sending = "sending"
    delivered = "delivered"
    dead = "dead"
    """Given up: refused permanently, out of attempts, or its link is no longer valid."""


class LinkState(StrEnum):
    """Whether the link in a mail is valid."""

    good = "good"
    used_or_replaced = "used_or_replaced"
    """Consumed, replaced by a newer mail's link, or revoked with all links of the user."""
    ran_out = "ran_out"


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to be written."""

    id: str
    kind: MailKind
    user_id: str
    """The user it belongs to: deleted with the user."""
    recipient: str
    """The address as its owner wrote it when it was stored; never as a caller typed it."""
    recipient_key: bytes = field(repr=False)
    """``service.recipient_key`` of the canonical form."""
    languages: tuple[str, ...] = ()
    """Language tags in order of preference; unknown ones are skipped."""
    link_base: str = ""
    """Base URL of its link: the brand's, without a trailing slash."""
    shown: dict[str, str] = field(default_factory=dict)
    """Further values for the template: never a secret."""
    expires_at: datetime | None = None
    """When its link expires."""


class Mail(msgspec.Struct, frozen=True):
    """A mail in the outbox."""

    id: str
    brand_id: str
    kind: MailKind
    user_id: str
    recipient: str
    languages: tuple[str, ...]
    link_base: str
    shown: dict[str, str]
    expires_at: datetime | None
    created_at: datetime
    state: MailState
    attempts: int
    next_attempt_at: datetime
    delivered_at: datetime | None
    last_error: str | None
    is_doubtful: bool = False
    """It may have arrived: an attempt was ambiguous."""


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """What the reader sees. Text and HTML contain the link with its token, and are never logged."""

    subject: str
    """One line; ``message.build_message`` prevents header injection."""
    text: str = field(repr=False)
    html: str = field(repr=False)
