"""The links in mails: where they lead, and the token that each carries.

The token is derived, not random: ``HMAC-SHA256(HKDF(master, "mail-link"), mail id)``. The database keeps its digest
and the mail's id, so that a mail can be delivered a second time, word for word, and a copy of the database opens
nothing (security §2, A33). Whoever delivers, lists or previews mail holds the master key.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from datetime import datetime

from keystead.crypto import secrets
from keystead.crypto.master_key import MasterKey
from keystead.crypto.secrets import Secret
from keystead.db.interface import Tx
from keystead.mail.model import LINK_KINDS, LINK_PATHS, LinkState, Mail, MailKind

__all__ = ["LINK_KINDS", "IsLinkGood", "find_link_state", "link_secret", "link_url", "recipient_key", "tell_link_state"]

IsLinkGood = Callable[[Tx, Secret, datetime], Awaitable[bool]]
"""Whether a one-time token could be used at this moment. Tokens are kept upstairs: whoever asks is handed this."""


def link_secret(master_key: MasterKey, kind: MailKind, mail_id: str) -> Secret:
    """The one-time token in the link of the mail with this id.

    :raises ValueError: when mails of this kind carry no link.
    """
    if kind not in LINK_KINDS:
        raise ValueError(f"a {kind} mail carries no link")
    key = master_key.derive("mail-link")
    message = f"{kind.value}\0{mail_id}".encode()
    return secrets.generate(LINK_KINDS[kind], random=lambda _: hmac.digest(key, message, "sha256"))


def link_url(link_base: str, secret: Secret) -> str:
    """The whole link. It begins with the brand's configured address and with nothing else (A51)."""
    return f"{link_base}{LINK_PATHS[secret.kind]}?token={secret.reveal()}"


def recipient_key(master_key: MasterKey, brand_id: str, canonical: str) -> bytes:
    """32 bytes by which mails of a brand to one mailbox are counted, whether or not anybody has the address."""
    message = f"{brand_id}\0{canonical}".encode()
    return hmac.digest(master_key.derive("mail-recipient"), message, "sha256")


async def find_link_state(
    tx: Tx, mail: Mail, master_key: MasterKey, now: datetime, is_link_good: IsLinkGood
) -> LinkState | None:
    """Whether the link in ``mail`` leads anywhere at this moment; None for a mail without one."""
    if mail.kind not in LINK_KINDS:
        return None
    if mail.expires_at is not None and mail.expires_at <= now:
        return LinkState.ran_out
    is_good = await is_link_good(tx, link_secret(master_key, mail.kind, mail.id), now)
    return LinkState.good if is_good else LinkState.used_or_replaced


def tell_link_state(state: LinkState, mail: Mail) -> str:
    """The same in words: ``good until 2026-01-01 12:10:00 UTC``."""
    at = "" if mail.expires_at is None else f"{mail.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    match state:
        case LinkState.good:
            return f"good until {at}"
        case LinkState.ran_out:
            return f"ran out {at}"
        case _:
            return "used or replaced"
