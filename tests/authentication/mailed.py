"""The mails that use cases send, and the tokens in their links."""

from __future__ import annotations

from keystead.authentication.link_request_worker import process_all
from keystead.context import Server
from keystead.mail import store
from keystead.mail.links import link_secret
from keystead.mail.model import Mail, MailKind, MailState


async def outbox(server: Server, *kinds: MailKind) -> list[Mail]:
    """All mails, or those of these kinds; the oldest first, those of one millisecond in no order.

    With those that were asked for until now: the mail worker has nothing left to decide.
    """
    await process_all(server)
    found = await store.list_mails(server.db.reads, None, list(MailState), 1000, 0)
    return [mail for mail in reversed(found) if not kinds or mail.kind in kinds]


def token_in(server: Server, mail: Mail) -> str:
    """The token in the mail's link."""
    return link_secret(server.master_key, mail.kind, mail.id).reveal()


async def only_token(server: Server, kind: MailKind) -> str:
    """The token in the only mail of this kind."""
    (mail,) = await outbox(server, kind)
    return token_in(server, mail)
