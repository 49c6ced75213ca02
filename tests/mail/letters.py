"""Mails for tests: written as journeys write them, without the journeys."""

from __future__ import annotations

from typing import Any

from keystead.context import ActiveBrand, Server
from keystead.ids import new_id
from keystead.mail import links, service
from keystead.mail.model import MailKind, NewMail
from keystead.users.model import User


async def make_mail(
    server: Server, brand: ActiveBrand, user: User, kind: MailKind = MailKind.password_changed, **choices: Any
) -> str:
    """The id of a mail to the user that waits for its delivery; ``choices`` are those of ``NewMail``."""
    now, recipient = server.clock.now(), str(user.profile.email)
    mail = NewMail(
        **{
            "id": new_id(now),
            "kind": kind,
            "user_id": user.id,
            "recipient": recipient,
            "recipient_key": links.recipient_key(server.master_key, brand.id, recipient.lower()),
            "languages": ("en",),
            "link_base": "https://auth.example.com",
            "shown": {"brand": brand.name},
            **choices,
        }
    )
    async with server.db.transaction() as tx:
        await service.enqueue(tx, brand.id, mail, now)
    return mail.id
