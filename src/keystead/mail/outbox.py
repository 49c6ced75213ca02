"""The outbox for operators: the command line and the demo's mailbox.

Nothing here contains a secret: the token of a link is not stored (``links``).
"""

from __future__ import annotations

from datetime import datetime

from keystead.audit import service as audit
from keystead.context import Context
from keystead.db.interface import Database
from keystead.errors import Conflict, NotFound
from keystead.mail import store
from keystead.mail.links import IsLinkGood, find_link_state
from keystead.mail.model import LinkState, Mail, MailState
from keystead.pagination import Page, PageRequest


async def list_mails(
    ctx: Context,
    page: PageRequest,
    *,
    brand_id: str | None = None,
    state: MailState | None = None,
    with_total: bool = False,
) -> Page[Mail]:
    """One page of mails, newest first: of one brand or all, in one state or any."""
    states = list(MailState) if state is None else [state]
    rows = await store.list_mails(ctx.db.scans, brand_id, states, page.probe, page.offset)
    total = await store.count_mails(ctx.db.scans, brand_id, states) if with_total else None
    return Page.cut(rows, page, total)


async def get_mail(ctx: Context, mail_id: str) -> Mail:
    """The mail with this id.

    :raises NotFound: when there is none; delivered mails are deleted after 30 days.
    """
    mail = await store.find_mail(ctx.db.reads, mail_id)
    if mail is None:
        raise NotFound("There is no such mail.")
    return mail


async def count_states(db: Database) -> dict[MailState, int]:
    """Count the mails in each state. Takes a database because ``doctor`` runs without a server."""
    found = await store.count_states(db.scans)
    return {state: found.get(state, 0) for state in MailState}


async def count_late(db: Database, before: datetime) -> int:
    """Count the undelivered mails of all brands that were written before ``before``."""
    return await store.count_late(db.scans, before)


async def retry(ctx: Context, mail_id: str, is_link_good: IsLinkGood) -> None:
    """Queue a dead mail again, due immediately and with all attempts of a new one.

    :raises NotFound: when there is no such mail.
    :raises Conflict: unless it is dead and its link, if any, is valid.
    """
    async with ctx.db.transaction() as tx:
        mail = await store.find_mail(tx, mail_id)
        link, is_retried = None, False
        if mail is not None:
            link = await find_link_state(tx, mail, ctx.server.master_key, ctx.now(), is_link_good)
            is_open = link in (None, LinkState.good)
            is_retried = is_open and await store.retry(tx, mail.brand_id, mail_id, ctx.now())
        if mail is not None and is_retried:
            details = {"kind": mail.kind.value}
            event = audit.describe(ctx, "mail.retried", brand_id=mail.brand_id, subject_id=mail_id, details=details)
            await audit.record(tx, event)
    if mail is None:
        raise NotFound("There is no such mail.")
    if not is_retried:
        raise Conflict(_why_not(mail, link))


def _why_not(mail: Mail, link: LinkState | None) -> str:
    if mail.state is not MailState.dead:
        return f"Only dead mails can be retried; this one is {mail.state}."
    if link is LinkState.used_or_replaced:
        return "The link in this mail was used or replaced."
    return "The link in this mail has expired; its reader has to request another one."
