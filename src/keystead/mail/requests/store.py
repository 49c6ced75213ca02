"""SQL of requests for mailed links."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table, bindparam, delete, select

from keystead.db.engine import Tx, pointing_at_what_was_there
from keystead.db.statements import Statement, insert
from keystead.db.types import Digest, Id, UtcTime, filled_index, metadata
from keystead.mail.requests.model import MailRequest

mail_requests = Table(
    "mail_requests",
    metadata,
    Column("id", Id, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE")),
    Column("asked_at", UtcTime, nullable=False),
    Column("sealed", Digest, nullable=False),
    filled_index("ix_mail_requests_user_id", "user_id"),
)

_R = mail_requests.c
_OF_BRAND = _R.brand_id == bindparam("brand_id")
_ADD = Statement(insert(mail_requests).values({column.name: bindparam(column.name) for column in mail_requests.c}))
# Ids are UUIDv7: their order is that of time.
_LIST = Statement(
    select(*[_R[name] for name in MailRequest.__struct_fields__])
    .where(_R.id > bindparam("after"))
    .order_by(_R.id)
    .limit(bindparam("limit")),
    unbranded="one worker decides on the requests of every brand",
)
_TAKE = Statement(delete(mail_requests).where(_OF_BRAND, _R.id == bindparam("request_id")))
_FORGET = Statement(delete(mail_requests).where(_OF_BRAND, _R.user_id == bindparam("user_id")))


async def add(tx: Tx, brand_id: str, request: MailRequest) -> None:
    """Adds a request.

    :raises Contention: when its user is deleted at this moment.
    """
    with pointing_at_what_was_there():
        await tx.execute(
            _ADD,
            id=request.id,
            brand_id=brand_id,
            user_id=request.user_id,
            asked_at=request.asked_at,
            sealed=request.sealed,
        )


async def list_requests(tx: Tx, after: str, limit: int) -> list[MailRequest]:
    """Up to ``limit`` requests in every brand behind the one of the id ``after``, the oldest first."""
    return [MailRequest(*row) for row in await tx.list(_LIST, after=after, limit=limit)]


async def take(tx: Tx, brand_id: str, request_id: str) -> bool:
    """Removes a request; False when there is none: another node has decided on it."""
    return await tx.execute(_TAKE, brand_id=brand_id, request_id=request_id) == 1


async def forget(tx: Tx, brand_id: str, user_id: str) -> None:
    """Removes a user's own requests that are not decided on."""
    await tx.execute(_FORGET, brand_id=brand_id, user_id=user_id)
