"""SQL of the delivery: mails are taken on lease, so that two nodes do not deliver the same one."""

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
_SWEEP = "the sweep removes what is over in every brand"
_now = bindparam("now", type_=UtcTime())
_before = bindparam("before", type_=UtcTime())
_limit = bindparam("limit", type_=Integer())

# A kind of mail that this release does not know waits for a node that does.
_KNOWN = any_of(_M.kind, "kinds")
_WAITS = and_(_M.state == MailState.waiting.value, _M.next_attempt_at <= _now, _KNOWN)
_IS_FRESH = and_(_WAITS, _M.attempts == 0)
# Whoever took it has not said what became of it: that process is gone.
_IS_ABANDONED = and_(_M.state == MailState.sending.value, _M.held_until <= _now, _KNOWN)
# Apart, so that each is found by an index however many mails wait; a plain EXISTS makes PostgreSQL gather all of them.
_FIRST_WAITING = select(_M.id).where(_WAITS).order_by(_M.next_attempt_at).limit(literal_column("1"))
_FIND_DUE = Statement(
    select(literal(1)).where(or_(_FIRST_WAITING.scalar_subquery().is_not(None), exists().where(_IS_ABANDONED))),
    unbranded=_EVERY_BRAND,
)


def _take(is_due: ColumnElement[bool]) -> Update:
    # A common table expression that locks is carried out once, before anything is changed (PostgreSQL's manual, 7.8).
    due = select(_M.id).where(is_due).order_by(_M.next_attempt_at, _M.id).limit(_limit)
    taken = due.with_for_update(skip_locked=True).cte("due")
    return (
        update(mails)
        .where(_M.id.in_(select(taken.c.id)))
        .values(
            state=MailState.sending.value,
            holder=bindparam("holder"),
            held_until=bindparam("until"),
            attempts=_M.attempts + 1,
        )
        .returning(*MAIL_COLUMNS)
    )


_TAKE_FRESH = Statement(_take(_IS_FRESH), unbranded=_EVERY_BRAND)
_TAKE_ABANDONED = Statement(_take(_IS_ABANDONED), unbranded=_EVERY_BRAND)
_TAKE_WAITING = Statement(_take(_WAITS), unbranded=_EVERY_BRAND)
# The number of the attempt tells two leases of the same holder apart.
_SETTLE = Statement(
    update(mails)
    .where(
        _M.brand_id == bindparam("brand_id"),
        _M.id == bindparam("mail_id"),
        # It has a holder only while it is being sent. Asked for its state, PostgreSQL would read all that are.
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
_GIVE_BACK = Statement(
    update(mails)
    .where(_M.state == MailState.sending.value, _M.holder == bindparam("held_by"), not_(any_of(_M.id, "begun")))
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
    # Asked again: whoever was asked for in the meantime stays.
    delete(mail_recipients).where(
        _KEY.in_(select(_R.brand_id, _R.recipient_key).where(_NOT_ASKED_SINCE).order_by(_R.asked_at).limit(_limit)),
        _NOT_ASKED_SINCE,
    ),
    unbranded=_SWEEP,
)
_KINDS = [kind.value for kind in MailKind]


async def is_any_due(tx: Tx, now: datetime) -> bool:
    """Whether a mail of every brand's could be taken now. A read: nobody has to wait for a node that only asks."""
    return await tx.find(_FIND_DUE, now=now, kinds=_KINDS) is not None


async def take(
    tx: Tx, holder: str, now: datetime, until: datetime, limit: int, repeats: int | None = None
) -> list[Mail]:
    """Takes up to ``limit`` mails of every brand that are due, for ``holder`` alone, until ``until``.

    Those come first that nobody has tried to deliver; of the others, which come in the order of their time, it takes
    ``repeats`` at most, where that is not None. Each counts as one more attempt. What another one is just taking is
    passed over, not waited for.
    """
    lease: dict[str, Any] = {"holder": holder, "now": now, "until": until, "kinds": _KINDS}
    most_repeats = limit if repeats is None else repeats
    taken = _in_order(await tx.list(_TAKE_FRESH, limit=limit, **lease))
    for statement in (_TAKE_ABANDONED, _TAKE_WAITING):
        room = min(limit - len(taken), most_repeats - sum(mail.attempts > 1 for mail in taken))
        if room > 0:
            taken += _in_order(await tx.list(statement, limit=room, **lease))
    return taken


def _in_order(rows: list[Row]) -> list[Mail]:
    return sorted((mail_of(row) for row in rows), key=lambda mail: (mail.next_attempt_at, mail.id))


async def give_back(tx: Tx, holder: str, begun: list[str]) -> int:
    """Has the mails of every brand that ``holder`` took wait again, as if nobody had taken them; how many there were.

    Not those among ``begun``: they may have arrived.
    """
    return await tx.execute(_GIVE_BACK, held_by=holder, begun=begun)


async def settle(
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
    """Notes what became of a mail that ``holder`` took: it is delivered, dead, or waits until ``at``.

    ``is_doubtful`` says that it may have arrived although it was not confirmed.

    False, and nothing is changed, when it is no longer theirs: the lease ran out and another one took it, or the mail
    went with its user.
    """
    changed = await tx.execute(
        _SETTLE,
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
    """Removes up to ``limit`` mails of every brand that have been in this state since ``before``; how many."""
    return await tx.execute(_DELETE_MAILS, in_state=state.value, before=before, limit=limit)


async def sweep_recipients(tx: Tx, before: datetime, limit: int) -> int:
    """Forgets up to ``limit`` recipients in every brand whom no mail was asked for since ``before``; how many."""
    return await tx.execute(_DELETE_RECIPIENTS, before=before, limit=limit)
