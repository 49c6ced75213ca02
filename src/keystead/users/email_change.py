"""Steps of e-mail changes on the user's row and one-time tokens: complete, cancel, invalidate what competes.

Security §13.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from keystead.db.interface import Contention, Tx, UniqueViolation
from keystead.users import email_change_store
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import VERIFYING


async def complete(tx: Tx, brand_id: str, user_id: str, canonical: str, now: datetime) -> bool:
    """Make the pending address the login, as ``email_change_store.complete`` does.

    :raises Contention: when another user was given the address concurrently.
    """
    with unique_address():
        return await email_change_store.complete(tx, brand_id, user_id, canonical, now)


@contextmanager
def unique_address() -> Iterator[None]:
    """Guard a statement that gives a user an address unless it sees that the address is taken.

    :raises Contention: when another user was given it concurrently; a retry sees that.
    """
    try:
        yield
    except UniqueViolation as clash:
        raise Contention(cause="two users were given one address") from clash


async def invalidate_competing(tx: Tx, brand_id: str, user_id: str, canonical: str, skeleton: str) -> None:
    """After a verification, invalidate competing changes' passwords and tokens, and this user's other tokens.

    The other users' pending address stays, so that they cannot tell that it has become a login. This user's tokens to
    log in with this very address, or to reset its password, stay valid: they were sent to the verified mailbox.
    """
    await email_change_store.disarm_competing(tx, brand_id, user_id, skeleton)
    await tokens.delete_competing(tx, brand_id, user_id, skeleton)
    await tokens.delete_unrelated(tx, brand_id, user_id, canonical)


async def cancel(tx: Tx, brand_id: str, user_id: str) -> None:
    """Cancel the pending change and invalidate all one-time tokens of a user who has a login address.

    For whatever signs an intruder out (a new password, log out everywhere): a link that the intruder requested must not
    let them in again. A user without login address keeps both: they are the only way to log in again.
    """
    if await email_change_store.cancel(tx, brand_id, user_id):
        await tokens.delete_tokens(tx, brand_id, user_id)


async def cancel_of_session(tx: Tx, brand_id: str, user_id: str, session_id: str) -> None:
    """Cancel the change that a revoked session requested, with its links; not for a user without login address."""
    # A statement before the update: a change that the session requests concurrently is visible to the next one.
    await email_change_store.lock_addresses(tx, brand_id, user_id)
    if await email_change_store.cancel_of_session(tx, brand_id, user_id, session_id):
        await tokens.delete_tokens(tx, brand_id, user_id, VERIFYING)
