"""Mails for tests, written without the use cases that cause them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keystead.context import ActiveBrand, Context, Server
from keystead.crypto.secrets import Secret
from keystead.ids import new_id
from keystead.mail import links, outbox, service
from keystead.mail.model import Mail, MailKind, MailState, NewMail
from keystead.mail.worker import MailWorker
from keystead.users import email_addresses
from keystead.users.model import User
from keystead.users.one_time_tokens import store as one_time_tokens
from keystead.users.one_time_tokens.model import TokenPurpose, lifetime_end
from tests.clocks import ManualClock
from tests.mail.post import Post, make_delivery
from tests.make import make_context

PURPOSES = {
    MailKind.verify_email: TokenPurpose.verify,
    MailKind.change_email: TokenPurpose.claim,
    MailKind.magic_login: TokenPurpose.login,
    MailKind.reset_password: TokenPurpose.reset,
}


async def make_mail(
    server: Server, brand: ActiveBrand, user: User, kind: MailKind = MailKind.password_changed, **choices: Any
) -> str:
    """Write a mail to the user and return its id; ``choices`` are fields of ``NewMail``."""
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
        await service.enqueue(tx, brand.id, mail, now, is_limited=False)
    return mail.id


async def make_link_mail(
    server: Server, brand: ActiveBrand, user: User, kind: MailKind = MailKind.magic_login, **choices: Any
) -> str:
    """As :func:`make_mail`, with a valid link that replaces the user's older one of that purpose."""
    now, purpose = server.clock.now(), PURPOSES[kind]
    expires_at = lifetime_end(purpose, now)
    mail_id = await make_mail(server, brand, user, kind, **{"expires_at": expires_at, **choices})
    address = email_addresses.parse(str(user.profile.email))
    async with server.db.transaction() as tx:
        await one_time_tokens.issue(tx, brand.id, user.id, purpose, address, secret_of(server, mail_id, kind), now)
    return mail_id


async def use_link(server: Server, brand: ActiveBrand, mail_id: str, kind: MailKind = MailKind.magic_login) -> None:
    """Consume the mail's link."""
    async with server.db.transaction() as tx:
        secret = secret_of(server, mail_id, kind)
        assert await one_time_tokens.consume(tx, brand.id, secret, server.clock.now()) is not None


def secret_of(server: Server, mail_id: str, kind: MailKind) -> Secret:
    """The token in the mail's link."""
    return links.link_secret(server.master_key, kind, mail_id)


@dataclass(frozen=True)
class Box:
    """An outbox: a server, a brand, and the user whom its mails go to."""

    server: Server
    brand: ActiveBrand
    ann: User
    clock: ManualClock

    @property
    def ctx(self) -> Context:
        """An operator's request."""
        return make_context(self.server)

    async def mail(self, kind: MailKind = MailKind.password_changed, **choices: Any) -> str:
        """As :func:`make_mail`."""
        return await make_mail(self.server, self.brand, self.ann, kind, **choices)

    async def link_mail(self, kind: MailKind = MailKind.magic_login, **choices: Any) -> str:
        """As :func:`make_link_mail`."""
        return await make_link_mail(self.server, self.brand, self.ann, kind, **choices)

    async def use_link(self, mail_id: str, kind: MailKind = MailKind.magic_login) -> None:
        """As :func:`use_link`."""
        await use_link(self.server, self.brand, mail_id, kind)

    async def find(self, mail_id: str) -> Mail:
        """The mail with this id."""
        return await outbox.get_mail(self.ctx, mail_id)

    async def state(self, mail_id: str) -> tuple[MailState, str | None]:
        """State and last error of a mail."""
        mail = await self.find(mail_id)
        return mail.state, mail.last_error

    def worker(self, post: Post, holder: str = "node-1", **options: Any) -> MailWorker:
        """As :func:`~tests.mail.post.make_delivery`."""
        return make_delivery(self.server, post, holder, **options)
