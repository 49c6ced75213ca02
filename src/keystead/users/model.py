"""Users, their addresses and roles as values, and what an administrator may set; names are checked here."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime

from msgspec import UNSET, UnsetType

from keystead.context import Profile
from keystead.errors import BadUserInput
from keystead.permissions import PermissionSet
from keystead.users.email_addresses import EmailAddress

LONGEST_USERNAME = 100
"""Code points."""
# A code point of NFC comes from at most four (UAX #15). Normalising is quadratic in a run of combining marks.
_LONGEST_RAW = 4 * LONGEST_USERNAME

# Control characters, surrogates, line and paragraph separators.
_REJECTED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# They reorder the text around them, so that a list would show one name as another.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class User:
    """A person; an anonymous user has no login address yet."""

    id: str
    is_disabled: bool
    profile: Profile


@dataclass(frozen=True, slots=True)
class LoginCandidate:
    """The owner of a login address and the hash to verify; not authenticated yet."""

    user_id: str
    password_hash: str | None = field(repr=False)
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class NewUser:
    """What an administrator gives for a new user; unchecked."""

    email: str
    password: str | None = field(default=None, repr=False)
    username: str | None = None
    is_verified: bool = False
    """Whether the administrator vouches for the address: then it is a login without verification."""
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UserChanges:
    """What an administrator changes; unchecked. None means unchanged, but ``username=None`` removes the name."""

    username: str | UnsetType | None = UNSET
    is_disabled: bool | None = None
    roles: tuple[str, ...] | None = None
    permissions: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class UserRow:
    """A row of the table of users, without its brand."""

    id: str
    created_at: datetime
    updated_at: datetime
    username: str | None = None
    email: str | None = None
    email_canonical: str | None = None
    email_skeleton: str | None = None
    verified_at: datetime | None = None
    pending_email: str | None = None
    pending_email_canonical: str | None = None
    pending_email_skeleton: str | None = None
    pending_password_hash: str | None = field(default=None, repr=False)
    pending_session_id: str | None = None
    pending_at: datetime | None = None
    password_hash: str | None = field(default=None, repr=False)
    permissions: tuple[str, ...] = ()
    session_epoch: int = 0
    is_disabled: bool = False
    last_login_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """A user's login address and the pending one of an e-mail change."""

    login: EmailAddress | None
    is_verified: bool
    """Whether the login address was verified; False where the brand asks for no verification."""
    pending: EmailAddress | None
    requesting_session_id: str | None
    """The session that requested the change; None when an administrator did, or another user verified the address."""
    pending_hash: str | None = field(default=None, repr=False)
    """The hash of the password that was chosen with ``pending``."""

    def is_pending(self, canonical: str) -> bool:
        """Return whether this address waits for verification."""
        return self.pending is not None and self.pending.canonical == canonical

    def is_login(self, canonical: str) -> bool:
        """Return whether this address is the login."""
        return self.login is not None and self.login.canonical == canonical

    def is_unverified_login(self, canonical: str) -> bool:
        """Return whether this address is the login and was never verified."""
        return self.is_login(canonical) and not self.is_verified

    def verified_other(self, canonical: str) -> EmailAddress | None:
        """The login address if it was verified and is another one: unrequested mail may go there.

        An unverified one may belong to a stranger.
        """
        return self.login if self.is_verified and not self.is_login(canonical) else None


@dataclass(frozen=True, slots=True)
class AddressOwner:
    """The user who logs in with an address, or with a look-alike; mail goes to ``email``, as it is stored."""

    user_id: str
    email: str
    canonical: str


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions of one brand."""

    name: str
    permissions: PermissionSet


def parse_username(raw: str, field: str = "username") -> str:
    """Return a display name in NFC, without surrounding white space; names are neither unique nor logins.

    :raises BadUserInput: when it is empty, longer than 100 code points, or holds control characters; names ``field``.
    """
    if any(map(_is_rejected, raw)):
        raise BadUserInput("The username must not contain control characters.", field=field)
    name = raw.strip()
    name = unicodedata.normalize("NFC", name) if len(name) <= _LONGEST_RAW else name
    if not 1 <= len(name) <= LONGEST_USERNAME:
        raise BadUserInput(f"The username must have between 1 and {LONGEST_USERNAME} characters.", field=field)
    return name


def _is_rejected(character: str) -> bool:
    return unicodedata.category(character) in _REJECTED_CATEGORIES or character in _BIDI_CONTROLS
