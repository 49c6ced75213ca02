"""SQL of mail delivery: leases, so that only one node delivers a mail, and the sweep."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    literal,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
    update,
)

from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement, any_of, unindexed
from keystead.db.types import Integer, UtcTime
from keystead.mail.model import Mail, MailKind, MailState
from keystead.mail.store import MAIL_COLUMNS, mail_of, mail_recipients, mails

_M, _R = mails.c, mail_recipients.c
_EVERY_BRAND = "one worker delivers the mails of every brand"
_SWEEP = "the sweep deletes old rows of every brand"
_now = bindparam("now", type_=UtcTime())
_before = bindparam("before", type_=UtcTime())
_limit = bindparam("limit", type_=Integer())

# A kind of mail that this release does not know waits for a node with a newer one.
_KNOWN = any_of(_M.kind, "kinds")
_WAITS = and_(_M.state == MailState.waiting.value, _M.next_attempt_at <= _now, _KNOWN)
_IS_NEW = and_(_WAITS, _M.attempts == 0)
# Its worker has died without recording an outcome.
_IS_EXPIRED = and_(_M.state == MailState.sending.value, _M.held_until <= _now, _KNOWN)
# Two subqueries, so that each uses an index however many mails wait: with a plain EXISTS PostgreSQL collects them all.
_FIRST_WAITING = select(_M.id).where(_WAITS).order_by(_M.next_attempt_at).limit(literal_column("1"))
_FIND_DUE = Statement(
    select(literal(1)).where(or_(_FIRST_WAITING.scalar_subquery().is_not(None), exists().where(_IS_EXPIRED))),
    unbranded=_EVERY_BRAND,
)


def _lease(is_due: ColumnElement[bool]) -> Update:
    # A locking CTE is evaluated once, before the update (PostgreSQL's manual, 7.8).
    due = select(_M.id).where(is_due).order_by(_M.next_attempt_at, _M.id).limit(_limit)
    leased = due.with_for_update(skip_locked=True).cte("due")
    return (
        update(mails)
        .where(_M.id.in_(select(leased.c.id)))
        .values(
            state=MailState.sending.value,
            holder=bindparam("holder"),
            held_until=bindparam("until"),
            attempts=_M.attempts + 1,
        )
        .returning(*MAIL_COLUMNS)
    )


_LEASE_NEW = Statement(_lease(_IS_NEW), unbranded=_EVERY_BRAND)
_LEASE_EXPIRED = Statement(_lease(_IS_EXPIRED), unbranded=_EVERY_BRAND)
_LEASE_WAITING = Statement(_lease(_WAITS), unbranded=_EVERY_BRAND)
# The attempt number distinguishes two leases of the same holder.
_RECORD_OUTCOME = Statement(
    update(mails)
    .where(
        _M.brand_id == bindparam("brand_id"),
        _M.id == bindparam("mail_id"),
        # Only a leased mail has a holder. With a condition on the state PostgreSQL would read all mails in it.
        _M.holder == bindparam("held_by"),
        _M.attempts == bindparam("attempt"),
    )
    .values(
        state=bindparam("new_state"),
        holder=None,
        held_until=None,
        next_attempt_at=bindparam("at"),
        delivered_at=bindparam("delivered_at"),
        last_error=bindparam("last_error"),
        is_doubtful=bindparam("is_doubtful"),
    )
)
_RELEASE = Statement(
    update(mails)
    .where(_M.state == MailState.sending.value, _M.holder == bindparam("held_by"), not_(any_of(_M.id, "kept")))
    .values(state=MailState.waiting.value, holder=None, held_until=None, attempts=_M.attempts - 1),
    unbranded=_EVERY_BRAND,
)

_OVER = and_(_M.state == bindparam("in_state"), _M.next_attempt_at < _before)
_DELETE_MAILS = Statement(
    delete(mails).where(
        _M.id.in_(select(_M.id).where(_OVER).order_by(_M.next_attempt_at).limit(_limit)), unindexed(_OVER)
    ),
    unbranded=_SWEEP,
)
_KEY = tuple_(_R.brand_id, _R.recipient_key)
_NOT_ASKED_SINCE = _R.asked_at < _before
_DELETE_RECIPIENTS = Statement(
    # Checked again: a recipient may have been written to in the meantime.
    delete(mail_recipients).where(
        _KEY.in_(select(_R.brand_id, _R.recipient_key).where(_NOT_ASKED_SINCE).order_by(_R.asked_at).limit(_limit)),
        _NOT_ASKED_SINCE,
    ),
    unbranded=_SWEEP,
)
_KINDS = [kind.value for kind in MailKind]


async def is_any_due(tx: Tx, now: datetime) -> bool:
    """Whether any mail of every brand could be leased now. Only a read, so polling blocks no writer."""
    return await tx.find(_FIND_DUE, now=now, kinds=_KINDS) is not None


async def lease_due(
    tx: Tx, holder: str, now: datetime, until: datetime, limit: int, retries: int | None = None
) -> list[Mail]:
    """Lease up to ``limit`` due mails of every brand to ``holder`` until ``until``, counting one more attempt each.

    New mails come first; of the others, oldest first, at most ``retries`` unless that is None. Rows locked by another
    worker are skipped.
    """
    terms: dict[str, Any] = {"holder": holder, "now": now, "until": until, "kinds": _KINDS}
    most_retries = limit if retries is None else retries
    leased = _in_order(await tx.list(_LEASE_NEW, limit=limit, **terms))
    for statement in (_LEASE_EXPIRED, _LEASE_WAITING):
        room = min(limit - len(leased), most_retries - sum(mail.attempts > 1 for mail in leased))
        if room > 0:
            leased += _in_order(await tx.list(statement, limit=room, **terms))
    return leased


def _in_order(rows: list[Row]) -> list[Mail]:
    return sorted((mail_of(row) for row in rows), key=lambda mail: (mail.next_attempt_at, mail.id))


async def release(tx: Tx, holder: str, kept: list[str]) -> int:
    """Release the leases of ``holder`` on mails of every brand, except ``kept`` ones; return how many.

    The mails are as they were before they were leased.
    """
    return await tx.execute(_RELEASE, held_by=holder, kept=kept)


async def record_outcome(
    tx: Tx,
    brand_id: str,
    mail: Mail,
    holder: str,
    state: MailState,
    now: datetime,
    at: datetime,
    error: str | None,
    *,
    is_doubtful: bool = False,
) -> bool:
    """Record the outcome of an attempt: the mail is delivered, dead, or waits until ``at``.

    :param is_doubtful: it may have arrived although that was not confirmed.
    :returns: False, without a change, when ``holder`` has lost the lease or the mail was deleted with its user.
    """
    changed = await tx.execute(
        _RECORD_OUTCOME,
        brand_id=brand_id,
        mail_id=mail.id,
        held_by=holder,
        attempt=mail.attempts,
        new_state=state.value,
        at=at,
        delivered_at=now if state is MailState.delivered else None,
        last_error=error,
        is_doubtful=is_doubtful,
    )
    return changed == 1


async def sweep(tx: Tx, state: MailState, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` mails of every brand that have been in this state since ``before``; return how many."""
    return await tx.execute(_DELETE_MAILS, in_state=state.value, before=before, limit=limit)


async def sweep_recipients(tx: Tx, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` recipients of every brand not written to since ``before``; return how many."""
    return await tx.execute(_DELETE_RECIPIENTS, before=before, limit=limit)
