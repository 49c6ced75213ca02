"""From claim to login, and back to nothing: steps of the journeys that prove addresses. Security §13."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from keystead.db.interface import Contention, Tx, UniqueViolation
from keystead.users.claims import store
from keystead.users.claims.model import Addresses, AddressOwner
from keystead.users.one_time_tokens import service as tokens
from keystead.users.one_time_tokens.model import TokenPurpose

__all__ = [
    "AddressOwner",
    "Addresses",
    "find_addresses",
    "find_owner",
    "grant_claim",
    "lock_addresses",
    "one_owner",
    "prove_login",
    "settle",
    "withdraw",
    "withdraw_of_session",
]

_PROVING = (TokenPurpose.verify, TokenPurpose.claim)

find_addresses = store.find_addresses
find_owner = store.find_owner
lock_addresses = store.lock_addresses
prove_login = store.prove_login


async def grant_claim(tx: Tx, brand_id: str, user_id: str, canonical: str, now: datetime) -> bool:
    """Makes the claimed address the login, as ``store.grant_claim`` does.

    :raises Contention: when somebody else was given the address at this moment.
    """
    with one_owner():
        return await store.grant_claim(tx, brand_id, user_id, canonical, now)


@contextmanager
def one_owner() -> Iterator[None]:
    """Around a statement that gives a user an address, unless it is seen to be taken.

    :raises Contention: when somebody else was given it at this moment: run again, it is seen.
    """
    try:
        yield
    except UniqueViolation as clash:
        raise Contention(cause="two users were given one address") from clash


async def settle(tx: Tx, brand_id: str, user_id: str, canonical: str, skeleton: str) -> None:
    """After a proof: passwords and tokens of everybody else's claims on the address die; so do the user's other tokens.

    What others claimed goes on looking as it did: it must not tell them that the address has become somebody's.
    Those that log in with this very address, or reset its password, stay: who holds them has its mailbox.
    """
    await store.disarm_rivals(tx, brand_id, user_id, skeleton)
    await tokens.forget_rivals(tx, brand_id, user_id, skeleton)
    await tokens.forget_others(tx, brand_id, user_id, canonical)


async def withdraw(tx: Tx, brand_id: str, user_id: str) -> None:
    """Drops the claim and kills all one-time tokens of a user who has a login address.

    For whatever throws intruders out (a new password, log out everywhere): a link that an intruder asked for must not
    bring them back. A user without login address keeps both: they are the only way back.
    """
    if await store.withdraw(tx, brand_id, user_id):
        await tokens.forget(tx, brand_id, user_id)


async def withdraw_of_session(tx: Tx, brand_id: str, user_id: str, session_id: str) -> None:
    """Drops what a session that is thrown out has claimed, with its links; not for a user without login address."""
    # On its own: should the session be claiming at this moment, that claim is seen by the next statement.
    await store.lock_addresses(tx, brand_id, user_id)
    if await store.withdraw_of_session(tx, brand_id, user_id, session_id):
        await tokens.forget(tx, brand_id, user_id, _PROVING)
