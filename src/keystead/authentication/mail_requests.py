"""Asking for a mailed link: a stranger may, for any address, and learns nothing of its owner (security §8).

The request writes one row that looks alike for every address and costs the same: no user is looked up. The mail worker
decides what comes of it (``mail_resolver``).
"""

from __future__ import annotations

import structlog

from keystead.audit import service as audit
from keystead.authentication.pseudonyms import pseudonym
from keystead.context import ActiveBrand, Context
from keystead.db.interface import Tx
from keystead.ids import new_id
from keystead.mail import request_store
from keystead.mail.model import MailKind
from keystead.mail.request_headers import preferred_languages
from keystead.mail.requests import MailRequest, RequestContent, seal_content
from keystead.users import email_addresses
from keystead.users.email_addresses import EmailAddress

_log = structlog.get_logger("keystead.mail")


async def ask_for_link(ctx: Context, brand: ActiveBrand, email: str, kind: MailKind) -> None:
    """Asks for a link to be mailed to the user who logs in with this address.

    :raises BadUserInput: for text that is no address; names ``email``.
    """
    request = describe_request(ctx, brand, kind, email_addresses.parse(email, "email"))
    await ctx.db.run(lambda tx: write_request(tx, request, is_limited=ctx.server.settings.throttling))


async def write_request(tx: Tx, request: MailRequest, *, is_limited: bool) -> None:
    """Writes the request, unless too many wait that came from the same network: then it is dropped and logged."""
    if not await request_store.add(tx, request.brand_id, request, is_limited=is_limited):
        _log.warning("mail_request_dropped", brand=request.brand_id, ip_prefix=request.source)


def describe_request(
    ctx: Context, brand: ActiveBrand, kind: MailKind, address: EmailAddress, user_id: str | None = None
) -> MailRequest:
    """The request as it is written; with ``user_id``, that of the signed-in user who wants the address proved."""
    details = {"kind": kind.value, "address": pseudonym(ctx, brand.id, address)}
    event = audit.describe(ctx, "mail.requested", brand_id=brand.id, details=details)
    asked = RequestContent(kind, address.canonical, preferred_languages(ctx.request.accept_language), event)
    request_id = new_id(event.at)
    sealed = seal_content(ctx.server.master_key, request_id, asked)
    return MailRequest(request_id, brand.id, user_id, event.ip_prefix or "-", event.at, event.at, sealed)
