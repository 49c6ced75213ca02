"""What an API key is. Contract §4."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keystead.context import ActiveBrand
from keystead.permissions import PermissionSet


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as its brand's admins see it; the secret itself is not here."""

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
    """What one indexed read tells of a presented secret: it is valid, and this is what it may do."""

    id: str
    permissions: PermissionSet
    is_publishable: bool
    allowed_origins: tuple[str, ...]
    created_by: str | None
    last_used_at: datetime | None
    brand: ActiveBrand


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """What somebody asks for, checked for form."""

    name: str
    permissions: PermissionSet
    description: str | None = None
    expires_at: datetime | None = None
    is_publishable: bool = False
    allowed_origins: tuple[str, ...] = ()
