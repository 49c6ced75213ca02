"""Notices to the owners of accounts: mails without a link, so that nothing happens to an account unheard."""

from __future__ import annotations

from dataclasses import replace

from keystead.authentication.correspondence import Correspondence, came_from
from keystead.authentication.store import SessionOwner
from keystead.db.interface import Tx
from keystead.mail.model import MailKind
from keystead.sessions.model import Device
from keystead.users.email_addresses import EmailAddress


async def password_changed(
    tx: Tx, correspondence: Correspondence, user_id: str, recipient: str, canonical: str, device: Device
) -> None:
    """Tells the owner of a login address that the password is another one, and from where it was changed."""
    draft, shown = correspondence.draft(MailKind.password_changed), came_from(device)
    await correspondence.send(tx, draft, user_id, recipient, canonical, shown=shown)


async def password_added(
    tx: Tx, correspondence: Correspondence, user_id: str, login: EmailAddress, device: Device
) -> None:
    """Tells a proved login address that a password which waited for proof is that of its account now.

    In the brand's language: the link was used by somebody who need not be its reader.
    """
    letters = replace(correspondence, languages=(correspondence.brand.policy.mail_language.lower(),))
    await password_changed(tx, letters, user_id, login.display, login.canonical, device)


async def session_reused(tx: Tx, correspondence: Correspondence, owner: SessionOwner) -> None:
    """Tells the owner of a session that its refresh token came back, and from where the session was opened."""
    draft, shown = correspondence.draft(MailKind.session_reused), came_from(owner.device)
    await correspondence.send(tx, draft, owner.user_id, owner.email, owner.email_canonical, shown=shown)
