"""Links in mails: URL, token and state.

The token is derived, not random: ``HMAC-SHA256(HKDF(master, "mail-link"), mail id)``. The database stores its digest
and the mail's id, so that a retry sends an identical mail and a copy of the database contains no usable token
(security §2, A33). Delivering, listing and previewing mails needs the master key.
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

IsLinkGood = Callable[[Tx, Secret, datetime], Awaitable[bool]]
"""Returns whether a one-time token is valid now. Passed in, because one-time tokens are in a higher layer."""


def link_secret(master_key: MasterKey, kind: MailKind, mail_id: str) -> Secret:
    """The one-time token in the link of the mail with this id.

    :raises ValueError: when mails of this kind have no link.
    """
    if kind not in LINK_KINDS:
        raise ValueError(f"a {kind} mail carries no link")
    key = master_key.derive("mail-link")
    message = f"{kind.value}\0{mail_id}".encode()
    return secrets.generate(LINK_KINDS[kind], random=lambda _: hmac.digest(key, message, "sha256"))


def link_url(link_base: str, secret: Secret) -> str:
    """The URL of the link. Its base is always the brand's configured one, never from a request (A51)."""
    return f"{link_base}{LINK_PATHS[secret.kind]}?token={secret.reveal()}"


def recipient_key(master_key: MasterKey, brand_id: str, canonical: str) -> bytes:
    """32 bytes that identify a mailbox of a brand for rate limits, whether or not the address is registered."""
    message = f"{brand_id}\0{canonical}".encode()
    return hmac.digest(master_key.derive("mail-recipient"), message, "sha256")


async def find_link_state(
    tx: Tx, mail: Mail, master_key: MasterKey, now: datetime, is_link_good: IsLinkGood
) -> LinkState | None:
    """The current state of the link in ``mail``; None for a mail without one."""
    if mail.kind not in LINK_KINDS:
        return None
    if mail.expires_at is not None and mail.expires_at <= now:
        return LinkState.ran_out
    is_good = await is_link_good(tx, link_secret(master_key, mail.kind, mail.id), now)
    return LinkState.good if is_good else LinkState.used_or_replaced


def describe_link_state(state: LinkState, mail: Mail) -> str:
    """For operators: ``good until 2026-01-01 12:10:00 UTC``."""
    at = "" if mail.expires_at is None else f"{mail.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    match state:
        case LinkState.good:
            return f"good until {at}"
        case LinkState.ran_out:
            return f"ran out {at}"
        case _:
            return "used or replaced"
