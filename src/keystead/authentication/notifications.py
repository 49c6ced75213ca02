"""Write mails to users: links and notices, enqueued in the transaction of the change. Notices carry no link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from keystead.authentication.store import SessionOwner
from keystead.brands import service as brands
from keystead.brands.model import Brand
from keystead.context import ActiveBrand, Context, Server
from keystead.crypto.master_key import MasterKey
from keystead.crypto.secrets import Secret
from keystead.db.interface import Tx
from keystead.ids import new_id
from keystead.mail import links, service
from keystead.mail.model import LINK_KINDS, MailKind, NewMail
from keystead.mail.request_headers import preferred_languages
from keystead.sessions.model import Device
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import AddressOwner


@dataclass(frozen=True, slots=True)
class Draft:
    """A mail that is not enqueued yet: its id determines the token in its link."""

    id: str
    kind: MailKind
    secret: Secret | None


@dataclass(frozen=True, slots=True)
class MailContext:
    """What all mails of a brand within one request share; read before the transaction begins."""

    brand: ActiveBrand
    link_base: str
    languages: tuple[str, ...]
    is_limited: bool
    master_key: MasterKey
    now: datetime

    def draft(self, kind: MailKind) -> Draft:
        """A new mail of this kind, not enqueued yet."""
        mail_id = new_id(self.now)
        secret = links.link_secret(self.master_key, kind, mail_id) if kind in LINK_KINDS else None
        return Draft(mail_id, kind, secret)

    async def may_send(self, tx: Tx, canonical: str) -> bool:
        """Return whether the rate limit allows another mail to this address; locks the address until ``tx`` ends."""
        key = self._key(canonical)
        return await service.may_send(tx, self.brand.id, key, self.now, is_limited=self.is_limited)

    async def seconds_until_allowed(self, tx: Tx, canonical: str) -> int:
        """Seconds until :meth:`may_send`, which has returned False, can return True."""
        return await service.seconds_until_allowed(tx, self.brand.id, self._key(canonical), self.now)

    async def send(
        self,
        tx: Tx,
        draft: Draft,
        user_id: str,
        recipient: str,
        canonical: str,
        *,
        expires_at: datetime | None = None,
        shown: Mapping[str, str] | None = None,
        is_wanted: bool = True,
    ) -> bool:
        """Enqueue the mail; return whether it was enqueued.

        ``recipient`` is an address as it is stored, ``canonical`` the form for comparisons. Unless ``is_wanted`` the
        same statements run without effect, to take the same time. A notice within an hour of the last one is dropped.
        """
        mail = NewMail(
            id=draft.id,
            kind=draft.kind,
            user_id=user_id,
            recipient=recipient,
            recipient_key=self._key(canonical),
            languages=self.languages,
            link_base=self.link_base,
            shown={"brand": self.brand.name, **(shown or {})},
            expires_at=expires_at,
        )
        return await service.enqueue(tx, self.brand.id, mail, self.now, is_wanted=is_wanted, is_limited=self.is_limited)

    async def note_answered(self, tx: Tx, canonical: str) -> None:
        """Record that a link sent to this address was used."""
        await service.note_answered(tx, self.brand.id, self._key(canonical), self.now)

    def _key(self, canonical: str) -> bytes:
        return links.recipient_key(self.master_key, self.brand.id, canonical)


async def mail_context(ctx: Context, brand: ActiveBrand) -> MailContext:
    """The mail context of this request; reads the brand's base URL by primary key."""
    base_url = (await brands.get_brand(ctx, brand.id)).base_url or ctx.server.settings.base_url
    return _mail_context(ctx.server, brand, base_url, preferred_languages(ctx.request.accept_language), ctx.now())


def mail_context_of(server: Server, brand: Brand, languages: tuple[str, ...], now: datetime) -> MailContext:
    """The mail context of a request that was made at ``now`` and is processed later."""
    return _mail_context(server, brand.active(), brand.base_url or server.settings.base_url, languages, now)


def notice_context(ctx: Context, brand: ActiveBrand) -> MailContext:
    """The mail context of notices, whose reader need not be the caller: in the brand's language, without a base URL."""
    return _mail_context(ctx.server, brand, "", (), ctx.now())


def came_from(device: Device) -> dict[str, str]:
    """What a mail shows of the origin of a request or session."""
    return {"ip_prefix": device.ip_prefix or "", "user_agent": device.user_agent or ""}


def _mail_context(
    server: Server, brand: ActiveBrand, link_base: str, asked: tuple[str, ...], now: datetime
) -> MailContext:
    languages = tuple(dict.fromkeys((*asked, brand.policy.mail_language.lower())))
    return MailContext(brand, link_base, languages, server.settings.throttling, server.master_key, now)


async def notify_password_changed(
    tx: Tx, mails: MailContext, user_id: str, recipient: str, canonical: str, device: Device
) -> None:
    """Notify a login address that its password was changed, and from where."""
    await mails.send(tx, mails.draft(MailKind.password_changed), user_id, recipient, canonical, shown=came_from(device))


async def notify_password_added(tx: Tx, mails: MailContext, user_id: str, login: EmailAddress, device: Device) -> None:
    """Notify a verified login address that a password chosen with an e-mail change is now that of its account."""
    await notify_password_changed(tx, _in_brand_language(mails), user_id, login.display, login.canonical, device)


async def notify_reuse(tx: Tx, mails: MailContext, owner: SessionOwner) -> None:
    """Notify the owner of a session that its refresh token was reused, and where the session was opened from."""
    shown = came_from(owner.device)
    draft = mails.draft(MailKind.session_reused)
    await mails.send(tx, draft, owner.user_id, owner.email, owner.email_canonical, shown=shown)


async def notify_address_taken(
    tx: Tx, mails: MailContext, owner: AddressOwner, device: Device, *, is_wanted: bool
) -> bool:
    """Notify the owner of an address that another user requests it or a look-alike; return whether it was enqueued.

    At most once an hour: repeated requests must not use up the rate limit of the owner's own links.
    """
    mails = _in_brand_language(mails)
    draft, shown = mails.draft(MailKind.address_taken), came_from(device)
    return await mails.send(tx, draft, owner.user_id, owner.email, owner.canonical, shown=shown, is_wanted=is_wanted)


async def notify_address_changed(
    tx: Tx, mails: MailContext, user_id: str, old: EmailAddress, new: EmailAddress, device: Device
) -> None:
    """Notify the old login address that another one replaced it; shows an abbreviation of the new one."""
    mails = _in_brand_language(mails)
    draft, shown = mails.draft(MailKind.address_changed), {**came_from(device), "new_address": abbreviate(new.display)}
    await mails.send(tx, draft, user_id, old.display, old.canonical, shown=shown)


def abbreviate(address: str) -> str:
    """``ann@example.com`` as ``a…@example.com``: enough for its owner to recognise it."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"


def _in_brand_language(mails: MailContext) -> MailContext:
    # The caller's language would be chosen by a stranger, and need not be the reader's.
    return replace(mails, languages=(mails.brand.policy.mail_language.lower(),))
