"""Asking for a mailed link: anybody may, for any address, and learns nothing of who has it (security §8).

    one read of the brand  →  one transaction: count the recipient's mails, bind a token to whoever logs in with the
    address, write the mail, write the audit row

The same statements run in the same order for an address that is somebody's, nobody's, a disabled user's, or has had its
share of mail: then the token and the mail are no rows. Only the audit log knows the reason.
"""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication.correspondence import came_from, open_correspondence
from keystead.authentication.pseudonyms import pseudonym
from keystead.context import ActiveBrand, Context
from keystead.db.engine import Tx
from keystead.errors import InternalError
from keystead.mail.model import MailKind
from keystead.sessions import service as sessions
from keystead.users import email_addresses
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import service as one_time_tokens
from keystead.users.one_time_tokens.model import OneTimeToken, TokenPurpose


async def ask_for_link(ctx: Context, brand: ActiveBrand, email: str, kind: MailKind, purpose: TokenPurpose) -> None:
    """Mails a link to whoever logs in with this address; to the address as it is stored.

    Nothing is mailed to nobody and to a disabled user, nor within a minute of the last mail, nor as the sixth in an
    hour: the caller is told the same, and the older link stays good.

    :raises BadUserInput: for text that is no address; names ``email``.
    """
    address = email_addresses.parse(email, "email")
    correspondence = await open_correspondence(ctx, brand)
    draft = correspondence.draft(kind)
    if draft.secret is None:
        raise InternalError(cause=f"a {kind} mail carries no link")
    secret, now, shown = draft.secret, correspondence.now, came_from(sessions.device(ctx.request))

    async def ask(tx: Tx) -> None:
        is_allowed = await correspondence.may_send(tx, address.canonical)
        token = await one_time_tokens.issue_to_login(tx, brand.id, address, purpose, secret, now, is_allowed=is_allowed)
        await correspondence.send(
            tx,
            draft,
            token.user_id if token else "",
            token.email if token else "",
            address.canonical,
            expires_at=token.expires_at if token else None,
            shown=shown,
            is_wanted=token is not None,
        )
        await audit.record(tx, _event(ctx, brand, address, kind, token, is_allowed=is_allowed))

    await ctx.db.run(ask)


def _event(
    ctx: Context,
    brand: ActiveBrand,
    address: EmailAddress,
    kind: MailKind,
    token: OneTimeToken | None,
    *,
    is_allowed: bool,
) -> AuditEvent:
    # A disabled user's address is as good as nobody's.
    reason = None if token else ("unknown_address" if is_allowed else "rate_limited")
    return audit.describe(
        ctx,
        "mail.requested",
        brand_id=brand.id,
        outcome="success" if token else "refused",
        reason=reason,
        subject_id=token.user_id if token else None,
        details={"kind": kind.value, "address": pseudonym(ctx, brand.id, address)},
    )
