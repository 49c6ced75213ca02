"""Request mailed links: anyone may, for any address, and learns nothing about its owner (security §8).

The request writes one row that is alike for every address and takes the same time: no user is looked up. The mail
worker processes it (``link_request_worker``).
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from keystead.audit import service as audit
from keystead.authentication.notifications import Draft, MailContext, came_from, notify_address_taken
from keystead.context import ActiveBrand, Context
from keystead.crypto.secrets import Secret
from keystead.db.interface import Tx
from keystead.errors import InternalError
from keystead.ids import new_id
from keystead.mail import request_store
from keystead.mail.model import MailKind
from keystead.mail.request_headers import preferred_languages
from keystead.mail.requests import MailRequest, RequestContent, seal_content
from keystead.sessions.model import Device
from keystead.users import email_addresses, email_change_store
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose, lifetime_end

VERIFICATION_MAILS = {TokenPurpose.verify: MailKind.verify_email, TokenPurpose.claim: MailKind.change_email}
"""The mail whose link verifies an address, by the purpose of its token."""

_log = structlog.get_logger("keystead.mail")


@dataclass(frozen=True, slots=True)
class VerificationMail:
    """The result of a request for verification; for the audit log only, never for the caller."""

    is_taken: bool
    is_mailed: bool

    @property
    def reason(self) -> str | None:
        """Why no link was mailed."""
        if self.is_taken:
            return "taken"
        return None if self.is_mailed else "rate_limited"


async def request_link(ctx: Context, brand: ActiveBrand, email: str, kind: MailKind) -> None:
    """Request a link for the user who logs in with this address.

    :raises BadUserInput: for text that is no address; names ``email``.
    """
    request = describe_request(ctx, brand, kind, email_addresses.parse(email, "email"))
    await ctx.db.run(lambda tx: write_request(tx, request, is_limited=ctx.server.settings.throttling))


async def write_request(tx: Tx, request: MailRequest, *, is_limited: bool) -> None:
    """Write the request; when too many from the same network wait, drop it and log that."""
    if not await request_store.add(tx, request.brand_id, request, is_limited=is_limited):
        _log.warning("mail_request_dropped", brand=request.brand_id, ip_prefix=request.source)


def describe_request(
    ctx: Context, brand: ActiveBrand, kind: MailKind, address: EmailAddress, user_id: str | None = None
) -> MailRequest:
    """The request as it is stored; ``user_id`` is the signed-in user who wants the address verified."""
    details = {"kind": kind.value, "address": address.pseudonym(ctx.server.master_key, brand.id)}
    event = audit.describe(ctx, "mail.requested", brand_id=brand.id, details=details)
    content = RequestContent(kind, address.canonical, preferred_languages(ctx.request.accept_language), event)
    request_id = new_id(event.at)
    sealed = seal_content(ctx.server.master_key, request_id, content)
    return MailRequest(request_id, brand.id, user_id, event.ip_prefix or "-", event.at, event.at, sealed)


async def send_verification(
    tx: Tx, mails: MailContext, user_id: str, address: EmailAddress, purpose: TokenPurpose, device: Device
) -> VerificationMail:
    """Mail a verification link to an address of the user; if it is another user's login, a notice to its owner.

    Both run the same statements, so that time does not reveal whether the address is taken. Mail goes to the address as
    it is stored: where the address is a look-alike of a login, nothing goes to the one that was typed. Nothing is sent
    within a minute of the last mail, nor as the sixth in an hour; then the older link stays valid.
    """
    brand_id, now = mails.brand.id, mails.now
    owner = await email_change_store.find_owner(tx, brand_id, user_id, address)
    canonical = owner.canonical if owner else address.canonical
    is_allowed = await mails.may_send(tx, canonical)
    link = mails.draft(VERIFICATION_MAILS[purpose])
    secret, is_linked = _secret(link), is_allowed and owner is None
    await tokens.issue(tx, brand_id, user_id, purpose, address, secret, now, is_allowed=is_linked)
    if owner is not None:
        is_mailed = await notify_address_taken(tx, mails, owner, device, is_wanted=is_allowed)
    else:
        is_mailed = await mails.send(
            tx,
            link,
            user_id,
            address.display,
            canonical,
            expires_at=lifetime_end(purpose, now),
            shown=came_from(device),
            is_wanted=is_allowed,
        )
    return VerificationMail(is_taken=owner is not None, is_mailed=is_mailed)


def _secret(draft: Draft) -> Secret:
    if draft.secret is None:
        raise InternalError(cause=f"a {draft.kind} mail carries no link")
    return draft.secret
