"""Writing to users: what every mail of a journey needs, read before its transaction begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class Draft:
    """A mail that may be written: its id is known, and with it the token in its link."""

    id: str
    kind: MailKind
    secret: Secret | None


@dataclass(frozen=True, slots=True)
class Correspondence:
    """What a brand's mails have in common within one request."""

    brand: ActiveBrand
    link_base: str
    languages: tuple[str, ...]
    is_limited: bool
    master_key: MasterKey
    now: datetime

    def draft(self, kind: MailKind) -> Draft:
        """A mail of this kind, not written yet."""
        mail_id = new_id(self.now)
        secret = links.link_secret(self.master_key, kind, mail_id) if kind in LINK_KINDS else None
        return Draft(mail_id, kind, secret)

    async def may_send(self, tx: Tx, canonical: str) -> bool:
        """Whether one more mail that others can cause may go to this address; locks it until ``tx`` ends."""
        key = self._key(canonical)
        return await service.may_send(tx, self.brand.id, key, self.now, is_limited=self.is_limited)

    async def seconds_until_allowed(self, tx: Tx, canonical: str) -> int:
        """After how many seconds :meth:`may_send`, which has returned False, can return True."""
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
        """Writes the mail; whether it did. ``recipient`` is an address as it is stored, ``canonical`` the form it is
        compared by.

        Unless ``is_wanted`` the same is done and nothing comes of it; nor of a notice within an hour of the last one.
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
        """Notes that a link sent to this address was used."""
        await service.note_answered(tx, self.brand.id, self._key(canonical), self.now)

    def _key(self, canonical: str) -> bytes:
        return links.recipient_key(self.master_key, self.brand.id, canonical)


async def open_correspondence(ctx: Context, brand: ActiveBrand) -> Correspondence:
    """What the brand's mails of this request begin with: reads the brand's base URL (one read by primary key)."""
    base_url = (await brands.get_brand(ctx, brand.id)).base_url or ctx.server.settings.base_url
    return _correspondence(ctx.server, brand, base_url, preferred_languages(ctx.request.accept_language), ctx.now())


def correspondence_of(server: Server, brand: Brand, languages: tuple[str, ...], now: datetime) -> Correspondence:
    """The same for a request that was made at ``now`` and is answered later."""
    return _correspondence(server, brand.active(), brand.base_url or server.settings.base_url, languages, now)


def without_link(ctx: Context, brand: ActiveBrand) -> Correspondence:
    """The same for mails without a link to somebody who need not be the caller: in the brand's language."""
    return _correspondence(ctx.server, brand, "", (), ctx.now())


def came_from(device: Device) -> dict[str, str]:
    """What a mail may show of where a request came from, or a session was opened."""
    return {"ip_prefix": device.ip_prefix or "", "user_agent": device.user_agent or ""}


def _correspondence(
    server: Server, brand: ActiveBrand, link_base: str, asked: tuple[str, ...], now: datetime
) -> Correspondence:
    languages = tuple(dict.fromkeys((*asked, brand.policy.mail_language.lower())))
    return Correspondence(brand, link_base, languages, server.settings.throttling, server.master_key, now)
