"""The sessions that claim addresses: what they have begun dies with them when they are thrown out. Security §13."""

from __future__ import annotations

from dataclasses import replace

from keystead.db.interface import Tx
from keystead.sessions import service as sessions
from keystead.users.claims import service as claims
from keystead.users.claims.model import Addresses


async def lock_standing(tx: Tx, brand_id: str, user_id: str) -> Addresses | None:
    """The user's addresses, held still until the transaction ends; None for nobody and for a disabled user.

    A claim of a session that was ended as an intruder's is none: it must not bring them back. That of a user without
    login address counts all the same: it is their only way back.
    """
    found = await claims.lock_addresses(tx, brand_id, user_id)
    if found is None or found.login is None or found.claiming_session_id is None:
        return found
    if not await sessions.was_thrown_out(tx, brand_id, found.claiming_session_id):
        return found
    return replace(found, pending=None, claiming_session_id=None, pending_hash=None)
