"""Verify an e-mail address by the link that was mailed to it. Security §13.

    consume the token  →  one conditional UPDATE makes the pending address the login  →  competing changes, other
    tokens, other sessions, notices to the old address, audit: all in one transaction

A pending address is verified with the password that was chosen with it, and the session that requested it stays signed
in. An unverified login address may have been taken by a stranger, so its passwords and sessions end.
"""

from __future__ import annotations

from dataclasses import dataclass

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication.email_change_steps import lock_addresses
from keystead.authentication.links import find_link
from keystead.authentication.notifications import (
    MailContext,
    mail_context,
    notify_address_changed,
    notify_password_added,
)
from keystead.context import Context
from keystead.crypto.secrets import Secret, SecretKind
from keystead.db.interface import Tx
from keystead.errors import TokenInvalid
from keystead.sessions import store as sessions
from keystead.sessions.model import Device, EndReason
from keystead.users import email_change, email_change_store
from keystead.users.model import Addresses
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import OneTimeToken


@dataclass(frozen=True, slots=True)
class Verified:
    """The address of a token is verified, now or before."""

    user_id: str
    ends_all: bool
    """Whether that ended all sessions of the user, by their epoch."""


def verification_event(ctx: Context, token: OneTimeToken) -> AuditEvent:
    """The audit event that :func:`verify_address` and :func:`verify_login_address` record."""
    address = token.address.pseudonym(ctx.server.master_key, token.brand_id)
    return audit.describe(
        ctx,
        "user.email_proved",
        brand_id=token.brand_id,
        subject_id=token.user_id,
        details={"address": address, "purpose": token.purpose.value},
    )


async def verify_email(ctx: Context, secret: Secret | None) -> None:
    """Verify the address that the token was sent to.

    :raises TokenInvalid: when the token is unknown, used, expired, of another brand than the request's credentials, or
        the address is no longer pending or has become another user's login.
    """
    link = await find_link(ctx, secret, SecretKind.verify)
    event, mails = verification_event(ctx, link.token), await mail_context(ctx, link.brand)

    async def verify(tx: Tx) -> Verified | None:
        token = await tokens.consume(tx, link.brand.id, link.secret, mails.now)
        return None if token is None else await verify_address(tx, mails, token, event)

    if await ctx.db.run(verify) is None:
        raise TokenInvalid(cause="used or replaced concurrently")


async def verify_address(tx: Tx, mails: MailContext, token: OneTimeToken, event: AuditEvent) -> Verified | None:
    """Make the address of a token, which was consumed in this transaction, a verified login.

    None when there is nothing to verify: another address is pending by now, this one is another user's login, or the
    user is disabled. The caller then raises ``TokenInvalid`` outside the transaction; the token may stay consumed.

    :raises Contention: when two users are given one address concurrently; ``Database.run`` retries.
    """
    brand_id, user_id, canonical = token.brand_id, token.user_id, token.email_canonical
    before = await lock_addresses(tx, brand_id, user_id)
    if before is None:
        return None
    if before.is_pending(canonical):
        if not await email_change.complete(tx, brand_id, user_id, canonical, mails.now):
            return None
        kept = None if before.is_unverified_login(canonical) else before.requesting_session_id
    elif await email_change_store.verify_login(tx, brand_id, user_id, canonical, mails.now):
        kept = None
    else:
        return None
    if kept is not None:
        await sessions.end_other_sessions(tx, brand_id, user_id, kept, EndReason.address_proved, mails.now)
    await _record(tx, mails, token, event)
    await _notify(tx, mails, token, before, Device(event.ip_prefix, event.user_agent))
    return Verified(user_id, ends_all=kept is None)


async def verify_login_address(tx: Tx, mails: MailContext, token: OneTimeToken, event: AuditEvent) -> Verified | None:
    """Take the use of a token to log in or to reset a password as verification of its address, which must be the login.

    Where it was unverified, all sessions end and all passwords and pending changes are dropped: ``ends_all``. None when
    the address is no longer the user's login, or the user is disabled.
    """
    brand_id, user_id, canonical = token.brand_id, token.user_id, token.email_canonical
    before = await email_change_store.lock_addresses(tx, brand_id, user_id)
    if before is None or not before.is_login(canonical):
        return None
    is_new = await email_change_store.verify_login(tx, brand_id, user_id, canonical, mails.now)
    if is_new:
        await _record(tx, mails, token, event)
    else:
        await mails.note_answered(tx, canonical)
    return Verified(user_id, ends_all=is_new)


async def _notify(tx: Tx, mails: MailContext, token: OneTimeToken, before: Addresses, device: Device) -> None:
    """Notify the former login address, if it was verified, that another one replaced it, and of a first password."""
    if before.login is None or not before.is_verified:
        return
    if before.is_pending(token.email_canonical) and before.pending_hash is not None:
        await notify_password_added(tx, mails, token.user_id, before.login, device)
    old = before.verified_other(token.email_canonical)
    if old is not None:
        await notify_address_changed(tx, mails, token.user_id, old, token.address, device)


async def _record(tx: Tx, mails: MailContext, token: OneTimeToken, event: AuditEvent) -> None:
    await email_change.invalidate_competing(
        tx, token.brand_id, token.user_id, token.email_canonical, token.email_skeleton
    )
    await mails.note_answered(tx, token.email_canonical)
    await audit.record(tx, event)
