"""Values of API keys. Contract §4."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keystead.context import ActiveBrand
from keystead.permissions import PermissionSet


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as its brand's admins see it, without the secret."""

    id: str
    name: str
    description: str | None
    permissions: PermissionSet
    is_publishable: bool
    allowed_origins: tuple[str, ...]
    hint: str
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """The valid API key of a presented secret, with its brand: the result of one indexed read."""

    id: str
    permissions: PermissionSet
    is_publishable: bool
    allowed_origins: tuple[str, ...]
    created_by: str | None
    last_used_at: datetime | None
    brand: ActiveBrand


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """The input of a new API key, with its form checked."""

    name: str
    permissions: PermissionSet
    description: str | None = None
    expires_at: datetime | None = None
    is_publishable: bool = False
    allowed_origins: tuple[str, ...] = ()
