"""What a user is, and what an administrator may ask of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from msgspec import UNSET, UnsetType

from keystead.context import Profile


@dataclass(frozen=True, slots=True)
class User:
    """A person, or somebody who may become known as one: an anonymous user has no login address yet."""

    id: str
    is_disabled: bool
    profile: Profile


@dataclass(frozen=True, slots=True)
class LoginCandidate:
    """Whom a login address belongs to, and the hash to check; not yet anybody who signed in."""

    user_id: str
    password_hash: str | None = field(repr=False)
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class NewUser:
    """What an administrator gives for a new user; all of it unchecked."""

    email: str
    password: str | None = field(default=None, repr=False)
    username: str | None = None
    is_verified: bool = False
    """Whether the administrator vouches for the address: then it is a login without proof."""
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
