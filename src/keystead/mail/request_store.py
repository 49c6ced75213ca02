"""SQL of requests for mailed links."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Column, ForeignKey, Index, Table, bindparam, delete, func, select, update

from keystead.db.interface import Tx, retry_when_deleted
from keystead.db.statements import Statement, insert
from keystead.db.types import Digest, Id, Text, UtcTime, filled_index, metadata
from keystead.mail.requests import MailRequest

MOST_OF_SOURCE = 200
"""Queued requests per network and brand; further ones are dropped. The queue is processed every second."""

mail_requests = Table(
    "mail_requests",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE")),
    Column("source", Text, nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("sealed", Digest, nullable=False),
    filled_index("ix_mail_requests_user_id_brand_id", "user_id", "brand_id"),
    Index("ix_mail_requests_brand_id_source_due_at", "brand_id", "source", "due_at"),
)

_R = mail_requests.c
_OF_BRAND = _R.brand_id == bindparam("brand_id")
_OF_SOURCE = _R.source == bindparam("source")
_IS_DUE = _R.due_at <= bindparam("now", type_=UtcTime())
_GIVEN = {name: bindparam(name, type_=_R[name].type) for name in MailRequest.__struct_fields__}
_WAITING = select(_R.id).where(_OF_BRAND, _OF_SOURCE).limit(bindparam("most")).subquery()
_HAS_ROOM = select(func.count()).select_from(_WAITING).scalar_subquery() < bindparam("most")
_ADD = Statement(insert(mail_requests).from_select(list(_GIVEN), select(*_GIVEN.values()).where(_HAS_ROOM)))
_WORKER = "one worker processes the requests of every brand"
_NEXT_BRAND = Statement(
    select(_R.brand_id).where(_R.brand_id > bindparam("after"), _IS_DUE).order_by(_R.brand_id).limit(1),
    unbranded=_WORKER,
)
_NEXT_SOURCE = Statement(
    select(_R.source).where(_OF_BRAND, _R.source > bindparam("after"), _IS_DUE).order_by(_R.source).limit(1)
)
_LIST = Statement(
    select(*[_R[name] for name in MailRequest.__struct_fields__])
    .where(_OF_BRAND, _OF_SOURCE, _IS_DUE)
    .order_by(_R.due_at)
    .limit(bindparam("limit"))
)
# Ids are UUIDv7, ordered by time.
_OLDEST = Statement(select(_R.asked_at).order_by(_R.id).limit(1), unbranded=_WORKER)
_ONE = (_OF_BRAND, _R.id == bindparam("request_id"))
_TAKE = Statement(delete(mail_requests).where(*_ONE))
_POSTPONE = Statement(update(mail_requests).where(*_ONE).values(due_at=bindparam("until", type_=UtcTime())))
_DELETE_OF_USER = Statement(delete(mail_requests).where(_OF_BRAND, _R.user_id == bindparam("user_id")))


async def add(tx: Tx, brand_id: str, request: MailRequest, *, is_limited: bool = True) -> bool:
    """Queue a request; return False, without queuing it, when its network has reached the limit.

    :raises Contention: when its user is being deleted concurrently.
    """
    most = MOST_OF_SOURCE if is_limited else 2**31 - 1
    with retry_when_deleted():
        return await tx.execute(_ADD, most=most, **msgspec.structs.asdict(request) | {"brand_id": brand_id}) > 0


async def find_oldest(tx: Tx) -> datetime | None:
    """When the oldest queued request of every brand was made; None when there is none."""
    row = await tx.find(_OLDEST)
    return None if row is None else row[0]


async def list_brands(tx: Tx, after: str, limit: int, now: datetime) -> list[str]:
    """Up to ``limit`` ids, after ``after``, of every brand with due requests."""
    found: list[str] = []
    while len(found) < limit and (row := await tx.find(_NEXT_BRAND, after=after, now=now)) is not None:
        after = row[0]
        found.append(after)
    return found


async def list_sources(tx: Tx, brand_id: str, after: str, limit: int, now: datetime) -> list[str]:
    """Up to ``limit`` networks, after ``after``, with due requests to the brand."""
    found: list[str] = []
    while len(found) < limit:
        row = await tx.find(_NEXT_SOURCE, brand_id=brand_id, after=after, now=now)
        if row is None:
            break
        after = row[0]
        found.append(row[0])
    return found


async def list_requests(tx: Tx, brand_id: str, source: str, limit: int, now: datetime) -> list[MailRequest]:
    """Up to ``limit`` due requests, oldest first."""
    rows = await tx.list(_LIST, brand_id=brand_id, source=source, limit=limit, now=now)
    return [MailRequest(*row) for row in rows]


async def take(tx: Tx, brand_id: str, request_id: str) -> bool:
    """Delete a request to process it; return False when another node has taken it."""
    return await tx.execute(_TAKE, brand_id=brand_id, request_id=request_id) == 1


async def postpone(tx: Tx, brand_id: str, request_id: str, until: datetime) -> None:
    """Delay a request until ``until``."""
    await tx.execute(_POSTPONE, brand_id=brand_id, request_id=request_id, until=until)


async def delete_of_user(tx: Tx, brand_id: str, user_id: str) -> None:
    """Delete the queued requests of a user."""
    await tx.execute(_DELETE_OF_USER, brand_id=brand_id, user_id=user_id)
