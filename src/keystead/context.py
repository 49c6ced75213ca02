"""The context of a request: its principal, its brand, and the server's resources.

Plain values: nothing here reads a database or a header. Only authentication makes a ``Principal``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from keystead.db.last_uses import LastUses
from keystead.permissions import EVERYTHING, NOTHING, PermissionSet
from keystead.policy import BrandPolicy, Features, Preset, SessionKind

if TYPE_CHECKING:
    from keystead.clock import Clock
    from keystead.crypto.keyring import Keyring
    from keystead.crypto.master_key import MasterKey
    from keystead.crypto.passwords import PasswordPool
    from keystead.crypto.token_cache import TokenCache
    from keystead.db.interface import Database
    from keystead.errors import Forbidden
    from keystead.settings import Settings

RESERVED_BRAND = "keystead"
"""The brand whose users are the operators of the installation."""

RESERVED_BRAND_ID = "00000000-0000-7000-8000-000000000000"
"""Its id, the same in every installation, so that processes that start concurrently create one brand."""


@dataclass(frozen=True, slots=True)
class ActiveBrand:
    """The brand of a request."""

    id: str
    name: str
    preset: Preset
    features: Features
    policy: BrandPolicy
    schema_version: int


class Profile(msgspec.Struct, frozen=True):
    """What ``me`` shows of the signed-in user; read with the row that authenticated the request."""

    email: str | None
    username: str | None
    is_verified: bool
    is_anonymous: bool
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None
    roles: tuple[str, ...]
    granted: PermissionSet
    """The user's own permissions: direct, by roles, and the brand's defaults; before any API key narrows them."""


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A caller without credentials."""

    permissions: PermissionSet = NOTHING


class UserPrincipal(msgspec.Struct, frozen=True):
    """A signed-in user; with ``key_id`` set, one who acts together with an API key."""

    brand_id: str
    user_id: str
    session_id: str
    session_kind: SessionKind
    permissions: PermissionSet
    profile: Profile
    key_id: str | None = None
    key_creator_id: str | None = None
    """The user who made the API key that comes along."""


@dataclass(frozen=True, slots=True)
class ApiKeyPrincipal:
    """A machine with an API key."""

    brand_id: str
    key_id: str
    permissions: PermissionSet
    is_publishable: bool
    key_creator_id: str | None = None
    """The user who made the key, or who made the key that made it; None for keys of the command line."""


@dataclass(frozen=True, slots=True)
class BrandTokenPrincipal:
    """An application that identifies its brand; public by nature (security §9)."""

    brand_id: str
    token_id: str
    permissions: PermissionSet = NOTHING


@dataclass(frozen=True, slots=True)
class System:
    """The installation itself: the CLI and the sweeper."""

    permissions: PermissionSet = EVERYTHING


Principal = Anonymous | UserPrincipal | ApiKeyPrincipal | BrandTokenPrincipal | System


def key_creator(principal: Principal) -> str | None:
    """The id of the user who made the API key that ``principal`` uses, alone or with a user; None without one."""
    return principal.key_creator_id if isinstance(principal, (ApiKeyPrincipal, UserPrincipal)) else None


class RequestDetails(msgspec.Struct, frozen=True):
    """Where a request comes from, as far as the server can vouch for it."""

    id: str
    address: str = ""
    address_prefix: str = ""
    user_agent: str = ""
    origin: str | None = None
    accept_language: str = ""
    """The header as sent; read when mail is written (``mail.languages``)."""


class DenialLog(Protocol):
    """Where acts are noted that a caller was not allowed. Never waits and never fails."""

    def note(self, ctx: Context, operation: str, refused: Forbidden) -> None:
        """The caller of ``ctx`` may not do ``operation``, the name of a root field."""


@dataclass(slots=True)
class Server:
    """The resources of a process. Only ``keyring`` changes: it is replaced as a whole.

    ``keyring_lock`` and ``keyring_check`` belong to ``installation.keyring_updates``, which replaces it.
    """

    settings: Settings
    clock: Clock
    db: Database
    master_key: MasterKey
    passwords: PasswordPool
    keyring: Keyring
    token_cache: TokenCache
    rotation_keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    denials: DenialLog | None = None
    key_uses: LastUses = field(default_factory=LastUses, repr=False)
    session_uses: LastUses = field(default_factory=LastUses, repr=False)
    keyring_lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    keyring_check: tuple[float, asyncio.Task[None]] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Context:
    """One request: its caller, its brand, and the server that answers."""

    server: Server
    request: RequestDetails
    principal: Principal
    brand: ActiveBrand | None = None
    brand_is_default: bool = False
    """True when no credential chose the brand, so that an argument may name another."""

    @property
    def db(self) -> Database:
        """The database of the process."""
        return self.server.db

    @property
    def permissions(self) -> PermissionSet:
        """What the caller may do."""
        return self.principal.permissions

    def now(self) -> datetime:
        """The current instant, from the server's clock."""
        return self.server.clock.now()
