"""A signed-in user changes their password. Contract §3: their other sessions end, this one goes on."""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.authentication import notices, store
from keystead.authentication.correspondence import Correspondence, without_link
from keystead.authentication.logout import signed_in_user
from keystead.context import ActiveBrand, Context, UserPrincipal
from keystead.crypto.password_rules import check_new
from keystead.crypto.passwords import Share
from keystead.db.interface import Tx
from keystead.errors import InternalError, InvalidCredentials
from keystead.policy import require_feature
from keystead.sessions import service as sessions
from keystead.sessions.model import Device, EndReason
from keystead.users import credentials, email_addresses
from keystead.users import service as users
from keystead.users.claims import service as claims
from keystead.users.claims.model import Addresses
from keystead.users.email_addresses import EmailAddress

_WRONG = "The old password is missing or wrong."


async def change_password(ctx: Context, new: str, old: str | None) -> None:
    """Sets a new password for the caller, who proves to know the old one.

    A user without a password has nothing to prove here and is refused: an access token alone must not be enough to
    take an account over.

    :raises Forbidden: when the brand has no password login.
    :raises BadUserInput: when the rules refuse the new password; names ``newPassword``.
    :raises InvalidCredentials: when the old one is missing or wrong, or was changed meanwhile.
    """
    caller, brand = signed_in_user(ctx), _brand(ctx)
    require_feature(brand.features, "password_login")
    address = _address(caller)
    # Before any hashing: what the rules refuse costs next to nothing.
    check_new(
        new,
        minimum=brand.policy.password_minimum,
        context_words=[brand.name, address.local_part] if address else [brand.name],
        field="newPassword",
    )
    share = Share(brand.id, ctx.request.address_prefix)
    passwords = ctx.server.passwords
    candidate = await users.find_login_of(ctx.db.reads, brand.id, caller.user_id)
    is_right = old is not None and await credentials.check_password(
        passwords, candidate, old, field="oldPassword", share=share
    )
    if not is_right or candidate is None or candidate.password_hash is None:
        raise await _refusal(ctx, caller, "old_password_missing" if old is None else "wrong_password")
    new_hash = await credentials.hash_new(passwords, brand, new, address=address, field="newPassword", share=share)
    if not await _replace(ctx, brand, caller, candidate.password_hash, new_hash):
        raise await _refusal(ctx, caller, "overtaken")


async def _replace(ctx: Context, brand: ActiveBrand, caller: UserPrincipal, as_read: str, new_hash: str) -> bool:
    letters, device = without_link(ctx, brand), sessions.device(ctx.request)
    now = letters.now
    event = audit.describe(ctx, "user.password_changed", brand_id=caller.brand_id, subject_id=caller.user_id)

    async def replace(tx: Tx) -> bool:
        # The user's row first: a login with the old password is then either refused or among those that end here, and
        # whoever is ending this very session has done so before it is looked at.
        found = await claims.lock_addresses(tx, caller.brand_id, caller.user_id)
        is_changed = await store.change_password(
            tx, caller.brand_id, caller.user_id, caller.session_id, as_read, new_hash, now
        )
        if is_changed:
            # Whoever it is that this throws out must not come back by a link of their own.
            await claims.withdraw(tx, caller.brand_id, caller.user_id)
            reason = EndReason.password_changed
            await sessions.end_others(tx, caller.brand_id, caller.user_id, caller.session_id, reason, now)
            await _notify(tx, letters, caller, found, device)
            await audit.record(tx, event)
        return is_changed

    return await ctx.db.run(replace)


async def _notify(
    tx: Tx, letters: Correspondence, caller: UserPrincipal, found: Addresses | None, device: Device
) -> None:
    """To the login address, if it was ever proved: else it may be anybody's, and a way to send them mail."""
    if found is not None and found.login is not None and found.is_proved:
        login = found.login
        await notices.password_changed(tx, letters, caller.user_id, login.display, login.canonical, device)


async def _refusal(ctx: Context, caller: UserPrincipal, reason: str) -> InvalidCredentials:
    """On record before it is answered: whoever has stolen an access token and guesses leaves a trace."""
    event = audit.describe(
        ctx,
        "password_change.refused",
        brand_id=caller.brand_id,
        outcome="refused",
        reason=reason,
        subject_id=caller.user_id,
    )
    await audit.record_alone(ctx, event)
    return InvalidCredentials(_WRONG)


def _address(caller: UserPrincipal) -> EmailAddress | None:
    return email_addresses.parse(caller.profile.email) if caller.profile.email else None


def _brand(ctx: Context) -> ActiveBrand:
    if ctx.brand is None:
        raise InternalError(cause="a signed-in user without a brand")
    return ctx.brand
