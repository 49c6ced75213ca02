"""Issuing and consuming one-time tokens: steps of the journeys that mails are part of. Security §13.

A token is bound to its purpose, its user, an address and a brand. The newest for a purpose is the only one, and kills
none for another: strangers can have links to log in mailed, and must not kill what the owner is about to use. It is
consumed by one conditional UPDATE, so that of many who hold it one alone gets in.
"""

from __future__ import annotations

from datetime import datetime

from keystead.context import ActiveBrand
from keystead.crypto.secrets import Secret
from keystead.db.interface import Tx
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import store
from keystead.users.one_time_tokens.model import HANDED_OVER, KINDS, LIFETIMES, OneTimeToken, TokenPurpose

__all__ = [
    "consume",
    "find",
    "forget",
    "forget_rivals",
    "hand_over",
    "is_good",
    "issue",
    "issue_to_login",
    "lifetime_end",
    "sweep",
]

forget = store.forget
forget_others = store.forget_others
forget_rivals = store.forget_rivals
sweep = store.sweep


def lifetime_end(purpose: TokenPurpose, now: datetime) -> datetime:
    """When a token that is issued now will be refused."""
    return now + (HANDED_OVER if purpose is TokenPurpose.handed_over else LIFETIMES[KINDS[purpose]])


async def issue(
    tx: Tx,
    brand_id: str,
    user_id: str,
    purpose: TokenPurpose,
    address: EmailAddress,
    secret: Secret,
    now: datetime,
    *,
    is_allowed: bool = True,
) -> bool:
    """Binds ``secret`` to the user and the address; the user's older token for that purpose is dead.

    False, and the older token stays good, unless ``is_allowed`` and the user is there.
    """
    _require_kind(secret, purpose)
    digest, expires_at = secret.digest(), lifetime_end(purpose, now)
    return await store.issue(tx, brand_id, user_id, purpose, address, digest, now, expires_at, is_allowed=is_allowed)


async def issue_to_login(
    tx: Tx,
    brand_id: str,
    canonical: str,
    purpose: TokenPurpose,
    secret: Secret,
    now: datetime,
) -> OneTimeToken | None:
    """The same for the user who logs in with this address; the token then carries the address as it is stored.

    None when there is none, or when they are disabled.
    """
    _require_kind(secret, purpose)
    digest, expires_at = secret.digest(), lifetime_end(purpose, now)
    return await store.issue_to_login(tx, brand_id, canonical, purpose, digest, now, expires_at)


async def find(tx: Tx, secret: Secret, now: datetime) -> tuple[OneTimeToken, ActiveBrand] | None:
    """The token and its brand if it is good at this moment, or None. Looking consumes nothing."""
    return await store.find_token(tx, secret.digest(), now)


async def is_good(tx: Tx, secret: Secret, now: datetime) -> bool:
    """Whether the token is there, unused, and has not run out.

    Not whether its user and its brand are open: they may be again before it runs out.
    """
    return await store.is_good(tx, secret.digest(), now)


async def consume(tx: Tx, brand_id: str, secret: Secret, now: datetime) -> OneTimeToken | None:
    """Uses the token up; None unless it was good until now, and of this brand."""
    return await store.consume(tx, brand_id, secret.digest(), now)


async def hand_over(tx: Tx, token: OneTimeToken, new: Secret, now: datetime) -> None:
    """Issues ``new``, good for two minutes, for a magic token just used up: what a page hands to an app."""
    address = EmailAddress(token.email, token.email_canonical, token.email_skeleton)
    await issue(tx, token.brand_id, token.user_id, TokenPurpose.handed_over, address, new, now)


def _require_kind(secret: Secret, purpose: TokenPurpose) -> None:
    if secret.kind is not KINDS[purpose]:
        raise ValueError(f"a token to {purpose} is no {secret.kind.name} secret")
