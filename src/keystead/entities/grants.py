"""Grants: permissions on an entity. Revoked with the entity, so that a later one of the same name starts without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from keystead.brands import service as brands
from keystead.db.interface import Tx
from keystead.entities import grant_store
from keystead.permissions import of_entity

Holders = Mapping[str, tuple[str, ...]]
"""Permissions by the name or id of the holder."""

MOST_LISTED = 1_000
"""Holders per kind that one audit event lists; their number is always included."""


@dataclass(frozen=True, slots=True)
class Grants:
    """Every permission on one entity, by holder."""

    roles: Holders = field(default_factory=dict)
    users: Holders = field(default_factory=dict)
    api_keys: Holders = field(default_factory=dict)
    default_permissions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.roles or self.users or self.api_keys or self.default_permissions)

    def counts(self) -> dict[str, int]:
        """Return the number of holders of each kind."""
        return {kind: len(getattr(self, kind)) for kind in (*grant_store.KINDS, "default_permissions")}

    def described(self) -> dict[str, Any]:
        """Return the details of an audit event."""
        listed = {
            kind: dict(list(getattr(self, kind).items())[:MOST_LISTED]) for kind in ("roles", "users", "api_keys")
        }
        return {**listed, "default_permissions": list(self.default_permissions), "counts": self.counts()}


async def find_grants(tx: Tx, brand_id: str, entity: str) -> Grants:
    """Return every grant on the entity."""
    named = frozenset(of_entity(entity))
    return Grants(
        _naming(named, await grant_store.list_holders(tx, brand_id, "roles", entity)),
        _naming(named, await grant_store.list_holders(tx, brand_id, "users", entity)),
        _naming(named, await grant_store.list_holders(tx, brand_id, "api_keys", entity)),
        tuple(name for name in await brands.default_permissions(tx, brand_id) if name in named),
    )


async def revoke_grants(tx: Tx, brand_id: str, entity: str, now: datetime) -> Grants:
    """Revoke and return every grant on the entity.

    Call it when the entity is no longer, or not yet, in the registry: a concurrent grant locks the entity's row there,
    so it is committed before the row is deleted, or finds no row.
    """
    ended = await find_grants(tx, brand_id, entity)
    for kind in grant_store.KINDS:
        if getattr(ended, kind):
            await grant_store.revoke_grants(tx, brand_id, kind, entity, now)
    if ended.default_permissions:
        await brands.revoke_default_permissions(tx, brand_id, ended.default_permissions, now)
    return ended


def _naming(named: frozenset[str], holders: Iterable[tuple[str, tuple[str, ...]]]) -> Holders:
    found = ((holder, tuple(filter(named.__contains__, permissions))) for holder, permissions in holders)
    return {holder: permissions for holder, permissions in found if permissions}
