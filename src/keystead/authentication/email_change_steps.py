"""Steps of e-mail changes in a transaction that has locked the user's row: request a change, or apply it directly."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keystead.authentication.notifications import MailContext, notify_address_changed
from keystead.context import ActiveBrand, UserPrincipal
from keystead.db.interface import Tx
from keystead.mail import request_store
from keystead.mail.requests import MailRequest
from keystead.sessions import store as sessions
from keystead.sessions.model import Device
from keystead.users import email_change, email_change_store
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import Addresses
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import VERIFYING


@dataclass(frozen=True, slots=True)
class EmailChange:
    """A signed-in user's request to change their address, with the passwords that were verified or chosen."""

    caller: UserPrincipal
    brand: ActiveBrand
    address: EmailAddress
    as_read: str | None = field(default=None, repr=False)
    """The hash of the password that was confirmed; None: the user has none."""
    new_hash: str | None = field(default=None, repr=False)
    """The hash of the password that was chosen with the change."""

    def is_repeated(self, before: Addresses) -> bool:
        """Return whether this session already requested the same address, with the same password or none."""
        return (
            before.is_pending(self.address.canonical)
            and before.requesting_session_id == self.caller.session_id
            and before.pending_hash == self.new_hash
        )


async def lock_addresses(tx: Tx, brand_id: str, user_id: str) -> Addresses | None:
    """Lock and return the user's addresses, without a pending change of a revoked session; None for a disabled user.

    A change that a revoked session requested is void: it must not let an intruder in again. That of a user without
    login address stays valid: it is their only way to log in again.
    """
    found = await email_change_store.lock_addresses(tx, brand_id, user_id)
    if found is None or found.login is None or found.requesting_session_id is None:
        return found
    if not await sessions.was_revoked(tx, brand_id, found.requesting_session_id):
        return found
    return replace(found, pending=None, requesting_session_id=None, pending_hash=None)


async def request_change(tx: Tx, change: EmailChange, before: Addresses, request: MailRequest) -> bool:
    """Make the address pending, and invalidate what belongs to an older change; ``request`` is for its link.

    False when the session has ended, or the user's password is no longer the one that was confirmed.
    """
    brand_id, caller = change.brand.id, change.caller
    if not await sessions.is_alive(tx, brand_id, caller.user_id, caller.session_id):
        return False
    is_pending = await email_change_store.set_pending(
        tx,
        brand_id,
        caller.user_id,
        caller.session_id,
        change.address,
        request.asked_at,
        as_read=change.as_read,
        new_hash=change.new_hash,
    )
    if not is_pending:
        return False
    # Also when the rate limit allows no mail: a link of another change must not verify this one. For a repeated request
    # the same statement deletes nothing: the number of statements must not reveal the state of the older change.
    await tokens.delete_tokens(tx, brand_id, caller.user_id, () if change.is_repeated(before) else VERIFYING)
    # Nor may a link that an older change requested and the mail worker has not written yet.
    await request_store.delete_of_user(tx, brand_id, caller.user_id)
    return True


async def apply_change(
    tx: Tx, mails: MailContext, change: EmailChange, before: Addresses, device: Device
) -> str | None:
    """Make the address the login without verification; return None, or why not: ``taken`` or ``overtaken``.

    :raises Contention: when another user is given the address concurrently.
    """
    brand_id, caller = change.brand.id, change.caller
    if not await sessions.is_alive(tx, brand_id, caller.user_id, caller.session_id):
        return "overtaken"
    with email_change.unique_address():
        is_login = await email_change_store.set_login(
            tx,
            brand_id,
            caller.user_id,
            change.address,
            mails.now,
            as_read=change.as_read,
            new_hash=change.new_hash,
        )
    if not is_login:
        owner = await email_change_store.find_owner(tx, brand_id, caller.user_id, change.address)
        return "overtaken" if owner is None else "taken"
    await tokens.delete_unrelated(tx, brand_id, caller.user_id, change.address.canonical)
    old = before.verified_other(change.address.canonical)
    if old is not None:
        await notify_address_changed(tx, mails, caller.user_id, old, change.address, device)
    return None
