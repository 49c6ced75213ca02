"""Change a signed-in user's e-mail address: the new one is pending until it is verified. Security §13.

    what the caller must know or may set (Argon2, outside every transaction)  →  one transaction: pending address,
    links of an older change invalidated, request for a mail, audit

A change to another user's address is stored and answered like any other; only its owner learns of it, by a mail. Where
the brand asks for no verification the address becomes the login immediately, and a taken one is a conflict; unless the
caller has a verified login address and no password to confirm.
"""

from __future__ import annotations

from dataclasses import replace

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication.authenticate import user_and_brand
from keystead.authentication.email_change_steps import EmailChange, apply_change, lock_addresses, request_change
from keystead.authentication.link_requests import VERIFICATION_MAILS, describe_request, write_request
from keystead.authentication.notifications import mail_context
from keystead.context import Context
from keystead.crypto.passwords import Share
from keystead.db.interface import Tx
from keystead.errors import Conflict, InvalidCredentials
from keystead.mail.model import MailKind
from keystead.policy import require_feature
from keystead.sessions import service as sessions
from keystead.users import email_addresses, email_change_store, login_store, passwords
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import Addresses, LoginCandidate
from keystead.users.one_time_tokens.model import TokenPurpose

_WRONG = "The password is missing or wrong."
_BY_LINK_ALONE = "This user logs in with a password: change the address with the password."


async def change_email(ctx: Context, new_email: str, password: str | None) -> None:
    """``changeAndValidateEmail``: request the change, or apply it where the brand asks for no verification.

    A user with a password confirms it. One without may choose it here; it is set when the address is verified. The same
    request again works like sending the link again: the older link stays valid where the rate limit allows no other.

    A user with a verified login address and no password always gets a link, also for their own address: an access token
    alone must not be enough to give their account a password.

    :raises BadUserInput: for text that is no address, or a new password that the rules reject; names the field.
    :raises Forbidden: for a new password where the brand has no password login.
    :raises InvalidCredentials: when the password is missing or wrong, or user or session changed concurrently.
    :raises Conflict: where no verification is asked for and the address is taken; names ``newEmail``.
    """
    change = _parse(ctx, new_email)
    candidate = await login_store.find_login_of(ctx.db.reads, change.brand.id, change.caller.user_id)
    share = Share(change.brand.id, ctx.request.address_prefix)
    pool = ctx.server.passwords
    if candidate is not None and candidate.password_hash is not None:
        if password is None:
            raise await _rejection(ctx, change, "password_missing")
        if not await passwords.check_password(pool, candidate, password, share=share):
            raise await _rejection(ctx, change, "wrong_password")
        change = replace(change, as_read=candidate.password_hash)
    elif password is not None:
        require_feature(change.brand.features, "password_login")
        change = replace(change, new_hash=await _hash_new(ctx, change, password, share))
    await _write(ctx, change, TokenPurpose.verify, needs_link=change.brand.features.email_verification)


async def change_email_by_link(ctx: Context, new_email: str) -> None:
    """``changeEmailMagically``: request the change by a link that verifies the address and logs in.

    Always by link, also where the brand asks for no verification. A user with a password is rejected: it would protect
    nothing.

    :raises Forbidden: when the brand has no magic login.
    :raises BadUserInput: for text that is no address; names ``newEmail``.
    :raises InvalidCredentials: when the user has a password, or user or session changed concurrently.
    """
    change = _parse(ctx, new_email, "magic_login")
    candidate = await login_store.find_login_of(ctx.db.reads, change.brand.id, change.caller.user_id)
    if candidate is not None and candidate.password_hash is not None:
        raise await _rejection(ctx, change, "has_password", _BY_LINK_ALONE)
    await _write(ctx, change, TokenPurpose.claim, needs_link=True)


async def resend_verification(ctx: Context) -> bool:
    """``resendVerificationMail``: request another link for the pending address, else for an unverified login address.

    False when there is nothing to verify.

    :raises Forbidden: when the brand asks for no verification.
    """
    caller, brand = user_and_brand(ctx)
    require_feature(brand.features, "email_verification")

    async def send(tx: Tx) -> bool:
        address = _to_verify(await lock_addresses(tx, brand.id, caller.user_id))
        if address is None:
            return False
        request = describe_request(ctx, brand, MailKind.verify_email, address, caller.user_id)
        await write_request(tx, request, is_limited=ctx.server.settings.throttling)
        return True

    return await ctx.db.run(send)


async def _write(ctx: Context, change: EmailChange, purpose: TokenPurpose, *, needs_link: bool) -> None:
    """Request the change by link, or apply it directly unless it ``needs_link``.

    It also needs one where the login address is verified and no password was confirmed: only the owner of that mailbox
    has been verified then, and the caller has shown no more than an access token.
    """
    device, mails = sessions.device(ctx.request), await mail_context(ctx, change.brand)
    request = describe_request(ctx, change.brand, VERIFICATION_MAILS[purpose], change.address, change.caller.user_id)

    async def write(tx: Tx) -> str | None:
        # Locks the user's row first: whatever revokes this session holds it, and is visible once the lock is ours.
        before = await email_change_store.lock_addresses(tx, change.brand.id, change.caller.user_id)
        if before is None:
            return "overtaken"
        if not needs_link and not (before.is_verified and change.as_read is None):
            problem = await apply_change(tx, mails, change, before, device)
            if problem is None:
                await audit.record(tx, _event(ctx, change, "user.email_granted"))
            return problem
        if not await request_change(tx, change, before, request):
            return "overtaken"
        await write_request(tx, request, is_limited=ctx.server.settings.throttling)
        await audit.record(tx, _event(ctx, change, "user.email_claimed", purpose=purpose.value))
        return None

    problem = await ctx.db.run(write)
    if problem == "taken":
        raise Conflict("This e-mail address is taken.", field="newEmail")
    if problem is not None:
        raise await _rejection(ctx, change, problem)


async def _hash_new(ctx: Context, change: EmailChange, password: str, share: Share) -> str:
    """The hash of a password chosen with the change: the pending one, if it is of the same password.

    A repeated request always verifies a second hash, whether or not a password is still pending: the time would reveal
    that another user has verified the address, which drops the pending password.
    """
    brand, user_id, pool = change.brand, change.caller.user_id, ctx.server.passwords
    new_hash = await passwords.hash_new(pool, brand, password, address=change.address, share=share)
    before = await email_change_store.find_addresses(ctx.db.reads, brand.id, user_id)
    if before is None or not before.is_pending(change.address.canonical):
        return new_hash
    candidate = LoginCandidate(user_id, before.pending_hash, is_disabled=False)
    is_same = await passwords.check_password(pool, candidate, password, share=share)
    return before.pending_hash if is_same and before.pending_hash else new_hash


def _parse(ctx: Context, new_email: str, *features: str) -> EmailChange:
    caller, brand = user_and_brand(ctx)
    for name in features:
        require_feature(brand.features, name)
    return EmailChange(caller, brand, email_addresses.parse(new_email, "newEmail"))


def _to_verify(found: Addresses | None) -> EmailAddress | None:
    if found is None:
        return None
    return found.pending or (None if found.is_verified else found.login)


def _event(ctx: Context, change: EmailChange, name: str, **details: str) -> AuditEvent:
    brand_id = change.brand.id
    details = {"address": change.address.pseudonym(ctx.server.master_key, brand_id), **details}
    return audit.describe(ctx, name, brand_id=brand_id, subject_id=change.caller.user_id, details=details)


async def _rejection(ctx: Context, change: EmailChange, reason: str, message: str = _WRONG) -> InvalidCredentials:
    """Record the rejection, then return the error: a thief of an access token who guesses passwords leaves a trace."""
    event = audit.describe(
        ctx,
        "email_claim.refused",
        brand_id=change.brand.id,
        outcome="refused",
        reason=reason,
        subject_id=change.caller.user_id,
        details={"address": change.address.pseudonym(ctx.server.master_key, change.brand.id)},
    )
    await audit.record_alone(ctx, event)
    return InvalidCredentials(message)
