"""Reject permissions that name no entity of their brand."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from keystead.db.interface import Tx
from keystead.entity_names import store
from keystead.errors import BadUserInput
from keystead.permissions import entity_of


async def require_entities(tx: Tx, brand_id: str, permissions: Iterable[str], *, field: str = "permissions") -> None:
    """Check that each permission on records names an entity of the brand.

    Call it first in a transaction that grants: it locks the entities until the end. A concurrent deletion waits for it
    and revokes the new grant too, or comes first, and the grant is rejected.

    :raises BadUserInput: for an unknown entity; names ``field``, and suggests a similar permission.
    """
    named = {entity: permission for permission in permissions if (entity := entity_of(permission)) is not None}
    if not named:
        return
    known = await store.lock_names(tx, brand_id, sorted(named))
    for entity in sorted(named.keys() - set(known)):
        refuse_unknown(named[entity], await store.list_names(tx, brand_id), field=field)


def refuse_unknown(permission: str, names: Collection[str], *, field: str) -> None:
    """Check that a permission names one of the entities, or none at all.

    :raises BadUserInput: for an unknown entity; names ``field``, and suggests a similar permission.
    """
    entity = entity_of(permission)
    if entity is None or entity in names:
        return
    message = f"'{permission}' names no entity of this brand"
    if close := get_close_matches(entity, names, n=1):
        raise BadUserInput(f"{message}: did you mean '{close[0]}{permission[len(entity) :]}'?", field=field)
    raise BadUserInput(f"{message}: define the entity '{entity}' first.", field=field)
