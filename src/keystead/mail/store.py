"""SQL of the outbox: tables, rate limits per recipient, and the operator's view. Delivery is in ``lease_store``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    bindparam,
    func,
    or_,
    select,
    update,
)

from keystead.db.interface import Row, Tx, retry_when_deleted
from keystead.db.statements import Statement, any_of, insert
from keystead.db.types import Boolean, Digest, Id, Json, Text, UtcTime, Words, metadata
from keystead.mail.model import LIMITED, Mail, MailKind, MailState, NewMail

mails = Table(
    "mails",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # The address as its owner wrote it, and the HMAC that identifies its mailbox for rate limits.
    Column("recipient", Text, nullable=False),
    Column("recipient_key", Digest, nullable=False),
    Column("languages", Words, nullable=False),
    Column("link_base", Text, nullable=False),
    Column("shown", Json, nullable=False),
    Column("expires_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    # When its recipient used the link: the mail was wanted and is not counted.
    Column("answered_at", UtcTime),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcTime, nullable=False),
    # The lease: worker and expiry.
    Column("holder", Text),
    Column("held_until", UtcTime),
    Column("delivered_at", UtcTime),
    Column("last_error", Text),
    # An attempt was ambiguous: the mail may have arrived.
    Column("is_doubtful", Boolean, nullable=False),
    Index("ix_mails_brand_id_recipient_key", "brand_id", "recipient_key", "created_at"),
    Index("ix_mails_state_next_attempt_at", "state", "next_attempt_at"),
    # New mails are leased first, however many others wait.
    Index("ix_mails_state_attempts_next_attempt_at", "state", "attempts", "next_attempt_at"),
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
"""One row per requested address, registered or not: locked while its mails are counted."""

_M, _R = mails.c, mail_recipients.c
_LATER = {"answered_at", "holder", "held_until", "delivered_at", "last_error"}
_NEW: dict[str, BindParameter[Any]] = {
    column.name: bindparam(column.name, type_=column.type) for column in mails.columns if column.name not in _LATER
}
_TO_ONE = (_M.brand_id == bindparam("brand_id"), _M.recipient_key == bindparam("recipient_key"))
_COUNTS = _M.answered_at.is_(None)

_LOCK_RECIPIENT = Statement(
    insert(mail_recipients)
    .values(brand_id=bindparam("brand_id"), recipient_key=bindparam("recipient_key"), asked_at=bindparam("now"))
    .on_conflict_do_update(index_elements=["brand_id", "recipient_key"], set_={"asked_at": bindparam("now")})
)
_COUNT_RECENT = Statement(
    select(
        func.count().filter(_COUNTS),
        func.count().filter(_COUNTS, _M.created_at > bindparam("minute")),
        func.min(_M.created_at).filter(_COUNTS),
        func.count().filter(_M.answered_at > bindparam("now")),
    ).where(*_TO_ONE, any_of(_M.kind, "kinds"), _M.created_at > bindparam("hour"))
)
# An unwanted mail inserts no row at the same cost, so that timing does not reveal whether a user exists (security §8).
_IS_WANTED = bindparam("is_wanted", type_=Boolean()).is_(True)
# Answered mails are included: a notice would repeat them. A NULL ``none_since`` matches no mail.
_EARLIER = mails.alias("earlier").c
_WAS_SENT = (
    select(_EARLIER.id)
    .where(
        _EARLIER.brand_id == bindparam("brand_id"),
        _EARLIER.recipient_key == bindparam("recipient_key"),
        _EARLIER.kind == bindparam("kind"),
        _EARLIER.created_at > bindparam("none_since", type_=UtcTime()),
    )
    .exists()
)
_INSERT_MAIL = Statement(insert(mails).from_select(list(_NEW), select(*_NEW.values()).where(_IS_WANTED, ~_WAS_SENT)))
_NOTE_ANSWERED = Statement(update(mails).where(*_TO_ONE, _M.answered_at.is_(None)).values(answered_at=bindparam("now")))

MAIL_COLUMNS = [_M[name] for name in Mail.__struct_fields__]
"""The columns that :func:`mail_of` reads."""
_OUTBOX = "operators see the mails of every brand in one list"
_SHOW = select(*MAIL_COLUMNS).where(any_of(_M.state, "states"))
# Ids are UUIDv7, ordered by time.
_PAGE = _SHOW.order_by(_M.id.desc()).limit(bindparam("limit")).offset(bindparam("offset"))
_COUNT = select(func.count()).select_from(mails).where(any_of(_M.state, "states"))
_OF_BRAND = _M.brand_id == bindparam("brand_id")
_LIST = Statement(_PAGE.where(_OF_BRAND))
_LIST_ALL = Statement(_PAGE, unbranded=_OUTBOX)
_COUNT_OF_BRAND = Statement(_COUNT.where(_OF_BRAND))
_COUNT_ALL = Statement(_COUNT, unbranded=_OUTBOX)
_COUNT_STATES = Statement(select(_M.state, func.count()).group_by(_M.state), unbranded=_OUTBOX)
_COUNT_LATE = Statement(_COUNT.where(_M.created_at < bindparam("before")), unbranded=_OUTBOX)
_FIND = Statement(
    select(*MAIL_COLUMNS).where(_M.id == bindparam("mail_id")), unbranded="the id of the mail names its brand"
)
_RETRY = Statement(
    update(mails)
    .where(
        _OF_BRAND,
        _M.id == bindparam("mail_id"),
        _M.state == MailState.dead.value,
        or_(_M.expires_at.is_(None), _M.expires_at > bindparam("now")),
    )
    .values(
        state=MailState.waiting.value, attempts=0, next_attempt_at=bindparam("now"), last_error=None, is_doubtful=False
    )
)


def mail_of(row: Row) -> Mail:
    """The mail in a row of ``MAIL_COLUMNS``."""
    values = dict(zip(Mail.__struct_fields__, row, strict=True))
    return Mail(**values | {"kind": MailKind(values["kind"]), "state": MailState(values["state"])})


async def lock_recipient(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime) -> None:
    """Lock the recipient's row until the transaction ends: one transaction at a time counts its mails."""
    await tx.execute(_LOCK_RECIPIENT, brand_id=brand_id, recipient_key=recipient_key, now=now)


async def count_recent(
    tx: Tx, brand_id: str, recipient_key: bytes, hour: datetime, minute: datetime, now: datetime
) -> tuple[int, int, datetime | None, int]:
    """Count the recipient's rate-limited mails: since ``hour``, since ``minute``; the time of the first; and how many
    were answered after ``now``.
    """
    kinds = sorted(LIMITED)
    row = await tx.find(
        _COUNT_RECENT, brand_id=brand_id, recipient_key=recipient_key, hour=hour, minute=minute, now=now, kinds=kinds
    )
    return (int(row[0]), int(row[1]), row[2], int(row[3])) if row else (0, 0, None, 0)


async def insert_mail(
    tx: Tx,
    brand_id: str,
    mail: NewMail,
    now: datetime,
    *,
    is_wanted: bool = True,
    none_since: datetime | None = None,
) -> bool:
    """Insert a mail, to be delivered, unless it is not wanted or one of its kind was written after ``none_since``.

    :returns: whether it was inserted.
    :raises Contention: when its user is being deleted concurrently.
    """
    with retry_when_deleted():
        added = await tx.execute(
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
            is_doubtful=False,
            is_wanted=is_wanted,
            none_since=none_since,
        )
    return added > 0


async def note_answered(tx: Tx, brand_id: str, recipient_key: bytes, now: datetime) -> None:
    """Mark the mails to this recipient as answered."""
    await tx.execute(_NOTE_ANSWERED, brand_id=brand_id, recipient_key=recipient_key, now=now)


async def find_mail(tx: Tx, mail_id: str) -> Mail | None:
    """The mail with this id, of every brand."""
    row = await tx.find(_FIND, mail_id=mail_id)
    return None if row is None else mail_of(row)


async def list_mails(tx: Tx, brand_id: str | None, states: Sequence[MailState], limit: int, offset: int) -> list[Mail]:
    """Mails in these states, newest first; of every brand if ``brand_id`` is None."""
    names = [state.value for state in states]
    if brand_id is None:
        return [mail_of(row) for row in await tx.list(_LIST_ALL, states=names, limit=limit, offset=offset)]
    rows = await tx.list(_LIST, brand_id=brand_id, states=names, limit=limit, offset=offset)
    return [mail_of(row) for row in rows]


async def count_mails(tx: Tx, brand_id: str | None, states: Sequence[MailState]) -> int:
    """Count the mails in these states; of every brand if ``brand_id`` is None."""
    names = [state.value for state in states]
    if brand_id is None:
        row = await tx.find(_COUNT_ALL, states=names)
    else:
        row = await tx.find(_COUNT_OF_BRAND, brand_id=brand_id, states=names)
    return int(row[0]) if row else 0


async def count_states(tx: Tx) -> dict[MailState, int]:
    """Count the mails of every brand by state; states without mails are left out."""
    return {MailState(state): int(number) for state, number in await tx.list(_COUNT_STATES)}


async def count_late(tx: Tx, before: datetime) -> int:
    """Count the undelivered mails of every brand that were written before ``before``."""
    states = [MailState.waiting.value, MailState.sending.value]
    row = await tx.find(_COUNT_LATE, states=states, before=before)
    return int(row[0]) if row else 0


async def retry(tx: Tx, brand_id: str, mail_id: str, now: datetime) -> bool:
    """Queue a dead mail again as new; return False unless it is dead and its link, if any, has not expired."""
    return await tx.execute(_RETRY, brand_id=brand_id, mail_id=mail_id, now=now) == 1
