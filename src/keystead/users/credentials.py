"""Passwords of users: checked, set, and hashed anew. The hashing runs outside of every transaction."""

from __future__ import annotations

from keystead.context import ActiveBrand
from keystead.crypto.password_rules import check_new, normalise
from keystead.crypto.passwords import PasswordPool, Share
from keystead.errors import ServerBusy
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import LoginCandidate


async def check_password(
    passwords: PasswordPool,
    candidate: LoginCandidate | None,
    raw: str,
    *,
    field: str = "password",
    share: Share | None = None,
) -> bool:
    """Whether ``raw`` is the password of a user who may sign in. The one way to find out, for every journey.

    It takes as long for nobody, for a user without a password and for a disabled one (security §6, §8).

    :raises BadUserInput: for text that can be nobody's password; names ``field``.
    :raises ServerBusy: when too many hashes are waiting.
    """
    password = normalise(raw, field)
    stored = None if candidate is None or candidate.is_disabled else candidate.password_hash
    return await passwords.verify(stored, password, share=share)


async def hash_new(
    passwords: PasswordPool,
    brand: ActiveBrand,
    raw: str,
    *,
    address: EmailAddress | None = None,
    field: str = "password",
    share: Share | None = None,
) -> str:
    """The hash of a password that may be set in the brand, by a user with this address.

    :raises BadUserInput: when the rules refuse it; names ``field``.
    :raises ServerBusy: when too many hashes are waiting.
    """
    context_words = [brand.name] if address is None else [brand.name, address.local_part]
    password = check_new(raw, minimum=brand.policy.password_minimum, context_words=context_words, field=field)
    return await passwords.hash(password, share=share)


async def strengthen_hash(
    passwords: PasswordPool, candidate: LoginCandidate, raw: str, *, share: Share | None = None
) -> str | None:
    """A hash with today's parameters for a password just found right; None when the stored one is as strong.

    None as well when too many hashes are waiting: the login goes on, and the next one tries again.
    """
    if candidate.password_hash is None or not passwords.needs_rehash(candidate.password_hash):
        return None
    try:
        return await passwords.hash(normalise(raw), share=share)
    except ServerBusy:
        return None
