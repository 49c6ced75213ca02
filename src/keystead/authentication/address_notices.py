"""Notices about addresses, to people who need not be the caller: in the brand's language, with nothing to click."""

from __future__ import annotations

from dataclasses import replace

from keystead.authentication.correspondence import Correspondence, came_from
from keystead.db.interface import Tx
from keystead.mail.model import MailKind
from keystead.sessions.model import Device
from keystead.users.claims.model import AddressOwner
from keystead.users.email_addresses import EmailAddress


async def address_taken(
    tx: Tx, correspondence: Correspondence, owner: AddressOwner, device: Device, *, is_wanted: bool
) -> bool:
    """Tells the owner of an address that somebody else claims it, or one that looks the same; whether it did.

    At most once an hour: whoever claims the address all day must not keep its owner's links from being sent.
    """
    letters = _in_brand_language(correspondence)
    draft = letters.draft(MailKind.address_taken)
    shown = came_from(device)
    return await letters.send(tx, draft, owner.user_id, owner.email, owner.canonical, shown=shown, is_wanted=is_wanted)


async def address_changed(
    tx: Tx, correspondence: Correspondence, user_id: str, old: EmailAddress, new: EmailAddress, device: Device
) -> None:
    """Tells the old address that another one has taken its place; of the new one it shows the outlines."""
    letters = _in_brand_language(correspondence)
    draft = letters.draft(MailKind.address_changed)
    shown = {**came_from(device), "new_address": outlines(new.display)}
    await letters.send(tx, draft, user_id, old.display, old.canonical, shown=shown)


def outlines(address: str) -> str:
    """``ann@example.com`` as ``a…@example.com``: enough for its owner to know it by."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"


def _in_brand_language(correspondence: Correspondence) -> Correspondence:
    # Whoever causes a notice could otherwise pick a language that its reader does not understand.
    return replace(correspondence, languages=(correspondence.brand.policy.mail_language.lower(),))
