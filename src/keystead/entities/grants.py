"""What is granted on an entity, and its end with the entity: a later one of the same name starts without grants."""

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
"""Permissions by the name or id of who holds them."""

MOST_LISTED = 1_000
"""Holders of a kind in one audit event; their number is always in it."""


@dataclass(frozen=True, slots=True)
class Grants:
    """Every permission on one entity, by who holds it."""

    roles: Holders = field(default_factory=dict)
    users: Holders = field(default_factory=dict)
    api_keys: Holders = field(default_factory=dict)
    default_permissions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.roles or self.users or self.api_keys or self.default_permissions)

    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        return {kind: len(getattr(self, kind)) for kind in (*grant_store.KINDS, "default_permissions")}

    def described(self) -> dict[str, Any]:
        """The details of an audit event."""
        listed = {
            kind: dict(list(getattr(self, kind).items())[:MOST_LISTED]) for kind in ("roles", "users", "api_keys")
        }
        return {**listed, "default_permissions": list(self.default_permissions), "counts": self.counts()}


async def find_grants(tx: Tx, brand_id: str, entity: str) -> Grants:
    """What is granted on the entity."""
    named = frozenset(of_entity(entity))
    return Grants(
        _naming(named, await grant_store.list_holders(tx, brand_id, "roles", entity)),
        _naming(named, await grant_store.list_holders(tx, brand_id, "users", entity)),
        _naming(named, await grant_store.list_holders(tx, brand_id, "api_keys", entity)),
        tuple(name for name in await brands.default_permissions(tx, brand_id) if name in named),
    )


async def revoke_grants(tx: Tx, brand_id: str, entity: str, now: datetime) -> Grants:
    """End every grant on the entity, and return what ended.

    The entity is no longer, or not yet, in the registry when this is called: a grant that runs at the same time holds
    the entity's row in the registry, so it is committed before the row is gone, or finds none.
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
