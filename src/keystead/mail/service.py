"""Writing mails into the outbox, and clearing it: steps of the transactions that cause them, and of the sweep."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil

from keystead.db.interface import Tx
from keystead.mail import lease_store as deliveries
from keystead.mail import store
from keystead.mail.model import MailKind, MailState, NewMail

MOST_A_MINUTE = 1
MOST_AN_HOUR = 5
"""Mails to one recipient that others than the recipient can cause (security §7)."""
_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)
RARE = frozenset({MailKind.address_taken})
RARELY = timedelta(hours=1)
"""How far apart two mails of a rare kind to one recipient are: they must not eat up the share of links."""
KEEP_DELIVERED = timedelta(days=30)
KEEP_UNDELIVERED = timedelta(days=90)
"""Longer: somebody has to see to them."""
_KEPT = {
    MailState.delivered: KEEP_DELIVERED,
    MailState.dead: KEEP_UNDELIVERED,
    # Where there is no mail server, all mail waits, and is of no use after that time.
    MailState.waiting: KEEP_UNDELIVERED,
}
KEEP_RECIPIENTS = timedelta(days=1)
"""An hour would do: that is how far back mails are counted."""

__all__ = ["enqueue", "may_send", "note_answered", "seconds_until_allowed", "sweep"]


async def may_send(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime, *, is_limited: bool = True) -> bool:
    """Whether one more mail may be written to this recipient: not within a minute of the last, nor as the sixth in an
    hour. Locks the recipient until the transaction ends, so that many at once are counted one after the other.

    Mails whose link was used do not count: they were wanted. Where one was used after ``now``, when this mail was asked
    for, it may not: a link that a reset would have killed must not come after it. ``is_limited`` is False where
    throttling is off.
    """
    await store.lock_recipient(tx, brand_id, recipient_key, now)
    hour, minute, _, answered = await store.count_recent(tx, brand_id, recipient_key, now - _HOUR, now - _MINUTE, now)
    return not answered and (not is_limited or (hour < MOST_AN_HOUR and minute < MOST_A_MINUTE))


async def seconds_until_allowed(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime) -> int:
    """After how many seconds :func:`may_send`, which has returned False, can return True."""
    hour, _, first, _ = await store.count_recent(tx, brand_id, recipient_key, now - _HOUR, now - _MINUTE, now)
    if first is None or hour < MOST_AN_HOUR:
        return int(_MINUTE.total_seconds())
    return max(int(_MINUTE.total_seconds()), ceil((first + _HOUR - now).total_seconds()))


async def enqueue(
    tx: Tx, brand_id: str, mail: NewMail, now: datetime, *, is_wanted: bool = True, is_limited: bool = True
) -> bool:
    """Writes the mail, to be delivered once the transaction has been committed; whether it did.

    Unless ``is_wanted`` nothing is written, and it costs the same: where nobody may learn whether there is a recipient.
    Nor is a notice of a ``RARE`` kind, within an hour of the last one to this recipient (:func:`may_send` holds the
    count still). ``is_limited`` is False where throttling is off.
    """
    last = now - RARELY if is_limited and mail.kind in RARE else None
    return await store.insert_mail(tx, brand_id, mail, now, is_wanted=is_wanted, none_since=last)


async def note_answered(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime) -> None:
    """Notes that the recipient used a link: what was sent to them so far was wanted, and counts no more."""
    await store.note_answered(tx, brand_id, recipient_key, now)


async def sweep(tx: Tx, now: datetime, limit: int) -> int:
    """Removes, of every brand, up to ``limit`` rows that are over: mails and recipients.

    Returns how many it removed: 0 means that nothing is left.
    """
    swept = await deliveries.sweep_recipients(tx, now - KEEP_RECIPIENTS, limit)
    for state, kept in _KEPT.items():
        if swept < limit:
            swept += await deliveries.sweep(tx, state, now - kept, limit - swept)
    return swept
