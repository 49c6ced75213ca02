"""Writing mails into the outbox: steps of the transactions that cause them."""

from __future__ import annotations

from datetime import datetime, timedelta

from keystead.db.engine import Tx
from keystead.mail import store
from keystead.mail.model import NewMail

MOST_A_MINUTE = 1
MOST_AN_HOUR = 5
"""Mails to one recipient that others than the recipient can cause (security §7)."""

__all__ = ["enqueue", "may_send", "note_answered"]


async def may_send(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime, *, is_limited: bool = True) -> bool:
    """Whether one more mail may be written to this recipient: not within a minute of the last, nor as the sixth in an
    hour. Locks the recipient until the transaction ends, so that many at once are counted one after the other.

    Mails whose link was used do not count: they were wanted. ``is_limited`` is False where throttling is off.
    """
    await store.lock_recipient(tx, brand_id, recipient_key, now)
    hour, minute = await store.count_recent(
        tx, brand_id, recipient_key, now - timedelta(hours=1), now - timedelta(minutes=1)
    )
    return not is_limited or (hour < MOST_AN_HOUR and minute < MOST_A_MINUTE)


async def enqueue(tx: Tx, brand_id: str, mail: NewMail, now: datetime, *, is_wanted: bool = True) -> None:
    """Writes the mail, to be delivered once the transaction has been committed.

    Unless ``is_wanted`` nothing is written, and it costs the same: where nobody may learn whether there is a recipient.
    """
    await store.insert_mail(tx, brand_id, mail, now, is_wanted=is_wanted)


async def note_answered(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime) -> None:
    """Notes that the recipient used a link: what was sent to them so far was wanted, and counts no more."""
    await store.note_answered(tx, brand_id, recipient_key, now)
