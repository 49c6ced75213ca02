"""Change a password: with the old one, or by a mailed link when it is forgotten. Contract §3.

A change ends the user's other sessions, a reset all of them; both cancel a pending e-mail change and invalidate mailed
links, so that an intruder is signed out for good, and notify the owner. Hashing runs outside the transaction.
"""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.authentication.authenticate import user_and_brand
from keystead.authentication.email_verification import verification_event, verify_login_address
from keystead.authentication.link_requests import request_link
from keystead.authentication.links import Link, find_link
from keystead.authentication.notifications import mail_context, notice_context, notify_password_changed
from keystead.context import ActiveBrand, Context, UserPrincipal
from keystead.crypto.password_rules import check_new
from keystead.crypto.passwords import Share
from keystead.crypto.secrets import Secret, SecretKind
from keystead.db.interface import Tx
from keystead.errors import InvalidCredentials, TokenInvalid
from keystead.mail.model import MailKind
from keystead.policy import require_feature
from keystead.sessions import service as sessions
from keystead.sessions import store as session_store
from keystead.sessions.model import EndReason
from keystead.users import email_addresses, email_change, email_change_store, login_store, passwords
from keystead.users.one_time_tokens import store as tokens

_WRONG = "The old password is missing or wrong."
_RESET_FEATURES = ("password_reset", "password_login")
"""A new password is of no use where the brand has no password login."""


async def change_password(ctx: Context, new: str, old: str | None) -> None:
    """Set a new password for the caller, who confirms the old one; their other sessions end.

    A user without a password is rejected: an access token alone must not be enough to take an account over.

    :raises Forbidden: when the brand has no password login.
    :raises BadUserInput: when the rules reject the new password; names ``newPassword``.
    :raises InvalidCredentials: when the old one is missing or wrong, or was changed concurrently.
    """
    caller, brand = user_and_brand(ctx)
    require_feature(brand.features, "password_login")
    address = email_addresses.parse(caller.profile.email) if caller.profile.email else None
    # Before any hashing: what the rules reject costs next to nothing.
    check_new(
        new,
        minimum=brand.policy.password_minimum,
        context_words=[brand.name, address.local_part] if address else [brand.name],
        field="newPassword",
    )
    share, pool = Share(brand.id, ctx.request.address_prefix), ctx.server.passwords
    candidate = await login_store.find_login_of(ctx.db.reads, brand.id, caller.user_id)
    is_right = old is not None and await passwords.check_password(
        pool, candidate, old, field="oldPassword", share=share
    )
    if not is_right or candidate is None or candidate.password_hash is None:
        raise await _rejection(ctx, caller, "old_password_missing" if old is None else "wrong_password")
    new_hash = await passwords.hash_new(pool, brand, new, address=address, field="newPassword", share=share)
    if not await _replace(ctx, brand, caller, candidate.password_hash, new_hash):
        raise await _rejection(ctx, caller, "overtaken")


async def request_reset(ctx: Context, brand: ActiveBrand, email: str) -> None:
    """Request a link to set a new password; it is mailed if the address is a login, which the caller never learns.

    :raises Forbidden: when the brand has no password reset or no password login; names the feature.
    :raises BadUserInput: for text that is no address; names ``email``.
    """
    for feature in _RESET_FEATURES:
        require_feature(brand.features, feature)
    await request_link(ctx, brand, email, MailKind.reset_password)


async def reset_password(ctx: Context, secret: Secret | None, new: str, *, field: str = "newPassword") -> None:
    """Set a new password for the user whom the link was mailed to, and consume the token; all their sessions end.

    :raises Forbidden: when the brand has no password reset or no password login; names the feature.
    :raises TokenInvalid: for an invalid token, also when a concurrent request consumes it first.
    :raises BadUserInput: when the rules reject the password; names ``field``. The token stays valid.
    :raises ServerBusy: when the hashing queue is full. The token stays valid.
    """
    link = await find_link(ctx, secret, SecretKind.reset, *_RESET_FEATURES)
    share, address = Share(link.brand.id, ctx.request.address_prefix), link.token.address
    new_hash = await passwords.hash_new(
        ctx.server.passwords, link.brand, new, address=address, field=field, share=share
    )
    if not await _reset(ctx, link, new_hash):
        raise TokenInvalid(cause="used or replaced concurrently")


async def _replace(ctx: Context, brand: ActiveBrand, caller: UserPrincipal, as_read: str, new_hash: str) -> bool:
    mails, device = notice_context(ctx, brand), sessions.device(ctx.request)
    brand_id, user_id, session_id, now = caller.brand_id, caller.user_id, caller.session_id, mails.now
    event = audit.describe(ctx, "user.password_changed", brand_id=brand_id, subject_id=user_id)

    async def replace(tx: Tx) -> bool:
        # Locks the user's row first: a login with the old password is then either rejected or among the sessions that
        # end here, and whatever revokes this very session is visible to the check.
        found = await email_change_store.lock_addresses(tx, brand_id, user_id)
        if not await session_store.is_alive(tx, brand_id, user_id, session_id):
            return False
        if not await login_store.change_password(tx, brand_id, user_id, as_read, new_hash, now):
            return False
        await email_change.cancel(tx, brand_id, user_id)
        reason = EndReason.password_changed
        await session_store.end_other_sessions(tx, brand_id, user_id, session_id, reason, now)
        # An unverified login address may be a stranger's, and the notice a way to send them mail.
        if found is not None and found.login is not None and found.is_verified:
            await notify_password_changed(tx, mails, user_id, found.login.display, found.login.canonical, device)
        await audit.record(tx, event)
        return True

    return await ctx.db.run(replace)


async def _reset(ctx: Context, link: Link, new_hash: str) -> bool:
    """False when the token was consumed concurrently, or its address is no longer the user's."""
    brand, user_id, device = link.brand, link.token.user_id, sessions.device(ctx.request)
    mails = await mail_context(ctx, brand)
    verified = verification_event(ctx, link.token)
    event = audit.describe(ctx, "user.password_reset", brand_id=brand.id, subject_id=user_id)

    async def reset(tx: Tx) -> bool:
        token = await tokens.consume(tx, brand.id, link.secret, mails.now)
        if token is None or await verify_login_address(tx, mails, token, verified) is None:
            return False
        # After the verification, which drops older passwords of an unverified login: this one is the owner's.
        canonical = token.email_canonical
        if not await login_store.reset_password(tx, brand.id, user_id, canonical, new_hash, mails.now):
            return False
        await tokens.delete_tokens(tx, brand.id, user_id)
        await notify_password_changed(tx, mails, user_id, token.email, canonical, device)
        await audit.record(tx, event)
        return True

    return await ctx.db.run(reset)


async def _rejection(ctx: Context, caller: UserPrincipal, reason: str) -> InvalidCredentials:
    """Record the rejection, then return the error: a thief of an access token who guesses passwords leaves a trace."""
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
