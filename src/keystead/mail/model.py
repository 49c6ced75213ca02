"""What a mail is before it is one: a kind, a recipient, and the texts that its wording shows.

No row holds a secret. The token of a link is derived from the mail's id (``links``), so that the database knows its
digest alone and a second attempt at delivery says exactly what the first one said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from keystead.crypto.secrets import SecretKind


class MailKind(StrEnum):
    """What a mail is about; the name of its template, too."""

    verify_email = "verify_email"
    """A link that proves an address."""
    change_email = "change_email"
    """A link that proves an address and logs in."""
    magic_login = "magic_login"
    """A link that logs in."""
    reset_password = "reset_password"
    """A link to a new password."""
    address_taken = "address_taken"
    """To the owner of an address: somebody else tried to use it."""
    address_changed = "address_changed"
    """To the old address: another one has taken its place."""
    password_changed = "password_changed"
    """To the owner: the password is another one."""
    session_reused = "session_reused"
    """To the owner: a rotated refresh token came back, and the session was ended."""


LINK_KINDS: dict[MailKind, SecretKind] = {
    MailKind.verify_email: SecretKind.verify,
    MailKind.change_email: SecretKind.magic,
    MailKind.magic_login: SecretKind.magic,
    MailKind.reset_password: SecretKind.reset,
}
"""The kind of token in the link of a mail; the other mails have none."""

LINK_PATHS: dict[SecretKind, str] = {
    SecretKind.verify: "/link/verify",
    SecretKind.magic: "/link/login",
    SecretKind.reset: "/link/reset",
}
"""The page behind a link, below the brand's base URL."""

LIMITED: frozenset[MailKind] = frozenset({*LINK_KINDS, MailKind.address_taken})
"""Mails that somebody else than their recipient can cause: one a minute and five an hour for each (security §7)."""


class MailState(StrEnum):
    """Where a mail is on its way."""

    waiting = "waiting"
    sending = "sending"
    delivered = "delivered"
    dead = "dead"
    """Given up: refused for good, tried too often, or its link was over before it could be sent."""


class LinkState(StrEnum):
    """Whether the link in a mail leads anywhere."""

    good = "good"
    used_or_replaced = "used_or_replaced"
    """By a click, by the link of a newer mail, or by whatever kills a user's links."""
    ran_out = "ran_out"


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to be written."""

    id: str
    kind: MailKind
    user_id: str
    """Whom it concerns: the mail goes with them when they are deleted."""
    recipient: str
    """The address as its owner wrote it when it was stored; never as a caller typed it."""
    recipient_key: bytes = field(repr=False)
    """``service.recipient_key`` of the canonical form."""
    languages: tuple[str, ...] = ()
    """Language tags in order of preference; unknown ones are passed over."""
    link_base: str = ""
    """Where its link begins: the brand's base URL, no slash at its end."""
    shown: dict[str, str] = field(default_factory=dict)
    """What the template may show besides: never a secret."""
    expires_at: datetime | None = None
    """When its link ends."""


class Mail(msgspec.Struct, frozen=True):
    """A mail as the outbox keeps it."""

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
    """It may have arrived already: an attempt ended without an answer to the whole mail."""


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """What the reader sees. Text and HTML hold the link, and with it the token: neither is ever logged."""

    subject: str
    """One line: whatever stands in it, no other header begins there (``message.build_message``)."""
    text: str = field(repr=False)
    html: str = field(repr=False)
