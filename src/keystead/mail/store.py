"""SQL of the outbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Column, ForeignKey, Index, Integer, Table, bindparam, func, select, update

from keystead.db.engine import Tx
from keystead.db.statements import Statement, any_of, insert
from keystead.db.types import Digest, Id, Json, Text, UtcTime, Words, metadata
from keystead.mail.model import LIMITED, MailState, NewMail

mails = Table(
    "mails",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # As its owner wrote it, and the HMAC by which mails to one mailbox are counted.
    Column("recipient", Text, nullable=False),
    Column("recipient_key", Digest, nullable=False),
    Column("languages", Words, nullable=False),
    Column("link_base", Text, nullable=False),
    Column("shown", Json, nullable=False),
    Column("expires_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    # Its recipient used the link: the mail was wanted, and counts no more.
    Column("answered_at", UtcTime),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcTime, nullable=False),
    # Whoever is delivering it, and until when nobody else may.
    Column("holder", Text),
    Column("held_until", UtcTime),
    Column("delivered_at", UtcTime),
    Column("last_error", Text),
    Index("ix_mails_brand_id_recipient_key", "brand_id", "recipient_key", "created_at"),
    Index("ix_mails_state_next_attempt_at", "state", "next_attempt_at"),
    Index("ix_mails_user_id", "user_id"),
)

mail_recipients = Table(
    "mail_recipients",
    metadata,
    Column("brand_id", Id, ForeignKey("brands.id"), primary_key=True),
    Column("recipient_key", Digest, primary_key=True),
    Column("asked_at", UtcTime, nullable=False),
    Index("ix_mail_recipients_asked_at", "asked_at"),
)
"""One row for each address that mail was asked for, somebody's or nobody's: locked while its mails are counted."""

_M, _R = mails.c, mail_recipients.c
_LATER = {"answered_at", "holder", "held_until", "delivered_at", "last_error"}
_NEW: dict[str, BindParameter[Any]] = {
    column.name: bindparam(column.name) for column in mails.columns if column.name not in _LATER
}
_TO_ONE = (_M.brand_id == bindparam("brand_id"), _M.recipient_key == bindparam("recipient_key"))
_COUNTED = (*_TO_ONE, _M.answered_at.is_(None), any_of(_M.kind, "kinds"))

_LOCK_RECIPIENT = Statement(
    insert(mail_recipients)
    .values(brand_id=bindparam("brand_id"), recipient_key=bindparam("recipient_key"), asked_at=bindparam("now"))
    .on_conflict_do_update(index_elements=["brand_id", "recipient_key"], set_={"asked_at": bindparam("now")})
)
_COUNT_RECENT = Statement(
    select(func.count(), func.count().filter(_M.created_at > bindparam("minute"))).where(
        *_COUNTED, _M.created_at > bindparam("hour")
    )
)
_INSERT_MAIL = Statement(insert(mails).values(_NEW))
_NOTE_ANSWERED = Statement(update(mails).where(*_TO_ONE, _M.answered_at.is_(None)).values(answered_at=bindparam("now")))


async def lock_recipient(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime) -> None:
    """Lets nobody else count this recipient's mails until the transaction ends."""
    await tx.execute(_LOCK_RECIPIENT, brand_id=brand_id, recipient_key=recipient_key, now=now)


async def count_recent(
    tx: Tx, brand_id: str, recipient_key: bytes, hour: datetime, minute: datetime
) -> tuple[int, int]:
    """How many limited mails went to the recipient since ``hour``, and how many of them since ``minute``."""
    kinds = sorted(LIMITED)
    row = await tx.find(
        _COUNT_RECENT, brand_id=brand_id, recipient_key=recipient_key, hour=hour, minute=minute, kinds=kinds
    )
    return (int(row[0]), int(row[1])) if row else (0, 0)


async def insert_mail(tx: Tx, brand_id: str, mail: NewMail, now: datetime) -> None:
    """Adds a mail that waits for its first delivery."""
    await tx.execute(
        _INSERT_MAIL,
        id=mail.id,
        brand_id=brand_id,
        kind=mail.kind.value,
        user_id=mail.user_id,
        recipient=mail.recipient,
        recipient_key=mail.recipient_key,
        languages=mail.languages,
        link_base=mail.link_base,
        shown=mail.shown,
        expires_at=mail.expires_at,
        created_at=now,
        state=MailState.waiting.value,
        attempts=0,
        next_attempt_at=now,
    )


async def note_answered(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime) -> None:
    """Marks the mails to this recipient as wanted."""
    await tx.execute(_NOTE_ANSWERED, brand_id=brand_id, recipient_key=recipient_key, now=now)
