"""Write mails to the outbox, with rate limits per recipient, and delete old ones. Steps of transactions."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil

from keystead.db.interface import Tx
from keystead.mail import lease_store, store
from keystead.mail.model import MailKind, MailState, NewMail

MOST_A_MINUTE = 1
MOST_AN_HOUR = 5
"""Rate limits of mails that others than their recipient can cause (security §7)."""
_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)
RARE = frozenset({MailKind.address_taken})
RARELY = timedelta(hours=1)
"""Minimum interval of ``RARE`` mails to one recipient, so that they do not use up the limit of links."""
KEEP_DELIVERED = timedelta(days=30)
KEEP_UNDELIVERED = timedelta(days=90)
"""Longer, because an operator has to look at them."""
_KEPT = {
    MailState.delivered: KEEP_DELIVERED,
    MailState.dead: KEEP_UNDELIVERED,
    # Without a mail server all mails wait.
    MailState.waiting: KEEP_UNDELIVERED,
}
KEEP_RECIPIENTS = timedelta(days=1)
"""At least an hour, for the rate limits."""


async def may_send(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime, *, is_limited: bool = True) -> bool:
    """Whether the rate limits (one per minute, five per hour) allow another mail to this recipient.

    Locks the recipient until the transaction ends, so that concurrent requests are counted one after the other. Mails
    whose link was used are not counted. If a link was used after ``now``, the time of the request, the result is False:
    a password reset revokes all links, and no new one may follow from an earlier request. ``is_limited`` is False where
    throttling is disabled.
    """
    await store.lock_recipient(tx, brand_id, recipient_key, now)
    hour, minute, _, answered = await store.count_recent(tx, brand_id, recipient_key, now - _HOUR, now - _MINUTE, now)
    return not answered and (not is_limited or (hour < MOST_AN_HOUR and minute < MOST_A_MINUTE))


async def seconds_until_allowed(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime) -> int:
    """Seconds until :func:`may_send`, which has returned False, can return True."""
    hour, _, first, _ = await store.count_recent(tx, brand_id, recipient_key, now - _HOUR, now - _MINUTE, now)
    if first is None or hour < MOST_AN_HOUR:
        return int(_MINUTE.total_seconds())
    return max(int(_MINUTE.total_seconds()), ceil((first + _HOUR - now).total_seconds()))


async def enqueue(
    tx: Tx, brand_id: str, mail: NewMail, now: datetime, *, is_wanted: bool = True, is_limited: bool = True
) -> bool:
    """Write the mail, to be delivered after the commit; return whether it was written.

    Unless ``is_wanted`` nothing is written, at the same cost, so that timing does not reveal whether the user exists.
    A ``RARE`` mail is not written within an hour of the last one to this recipient (:func:`may_send` holds the lock).
    ``is_limited`` is False where throttling is disabled.
    """
    last = now - RARELY if is_limited and mail.kind in RARE else None
    return await store.insert_mail(tx, brand_id, mail, now, is_wanted=is_wanted, none_since=last)


async def note_answered(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime) -> None:
    """Record that the recipient used a link: the mails sent so far were wanted and are no longer counted."""
    await store.note_answered(tx, brand_id, recipient_key, now)


async def sweep(tx: Tx, now: datetime, limit: int) -> int:
    """Delete up to ``limit`` old mails and recipients of any brand; return how many, 0 when none is left."""
    swept = await lease_store.sweep_recipients(tx, now - KEEP_RECIPIENTS, limit)
    for state, kept in _KEPT.items():
        if swept < limit:
            swept += await lease_store.sweep(tx, state, now - kept, limit - swept)
    return swept
