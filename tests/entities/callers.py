"""Callers of each kind, and a brand as it is now, for tests of entities."""

from __future__ import annotations

from datetime import UTC, datetime

from keystead.brands import service as brands
from keystead.context import ActiveBrand, ApiKeyPrincipal, Context, Profile, Server, UserPrincipal
from keystead.permissions import PermissionSet
from keystead.policy import SessionKind
from tests.make import make_context

ANN = "01900000-0000-7000-8000-00000000000a"
BEN = "01900000-0000-7000-8000-00000000000b"


async def current(server: Server, brand: ActiveBrand) -> ActiveBrand:
    """The brand with its newest schema version."""
    found = await brands.find_active_by_name(server.db.reads, brand.id)
    assert found is not None
    return found


def key(server: Server, brand: ActiveBrand, *permissions: str) -> Context:
    """A machine with these permissions."""
    return make_context(server, brand, ApiKeyPrincipal(brand.id, "key-1", PermissionSet(permissions), False))


def user(server: Server, brand: ActiveBrand, user_id: str, *permissions: str) -> Context:
    """A signed-in user with these permissions."""
    granted = PermissionSet(permissions)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    profile = Profile("ann@example.com", None, True, False, at, at, None, (), granted)
    principal = UserPrincipal(brand.id, user_id, "session-1", SessionKind.pair, granted, profile)
    return make_context(server, brand, principal)
