"""Check, hash and rehash users' passwords. Hashing runs outside every transaction."""

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
    """Return whether ``raw`` is the password of a user who may log in. Every login uses this function.

    It takes equally long for an unknown user, one without a password and a disabled one (security §6, §8).

    :raises BadUserInput: for text that cannot be a password; names ``field``.
    :raises ServerBusy: when the hashing queue is full.
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
    """Check a new password against the brand's rules and the user's address, and return its hash.

    :raises BadUserInput: when the rules reject it; names ``field``.
    :raises ServerBusy: when the hashing queue is full.
    """
    context_words = [brand.name] if address is None else [brand.name, address.local_part]
    password = check_new(raw, minimum=brand.policy.password_minimum, context_words=context_words, field=field)
    return await passwords.hash(password, share=share)


async def rehash(
    passwords: PasswordPool, candidate: LoginCandidate, raw: str, *, share: Share | None = None
) -> str | None:
    """Hash a password that was just verified with the current parameters; None when the stored hash has them.

    Also None when the hashing queue is full: the login succeeds, and the next one tries again.
    """
    if candidate.password_hash is None or not passwords.needs_rehash(candidate.password_hash):
        return None
    try:
        return await passwords.hash(normalise(raw), share=share)
    except ServerBusy:
        return None
