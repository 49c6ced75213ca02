"""SQL of e-mail changes: the pending address is in columns of the user's row, so one statement makes it the login."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, func, null, or_, select, update

from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement
from keystead.db.types import Text
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import Addresses, AddressOwner
from keystead.users.store import users

_U, _O = users.c, users.alias("owners").c
_IN_BRAND = _U.brand_id == bindparam("brand_id")
_ONE_USER = (_IN_BRAND, _U.id == bindparam("user_id"))
NO_CHANGE = {name: null() for name in users.columns.keys() if name.startswith("pending_")}  # noqa: SIM118
"""The columns of a pending change where there is none."""

_READ = select(
    _U.id,
    _U.verified_at,
    _U.pending_session_id,
    _U.email,
    _U.email_canonical,
    _U.email_skeleton,
    _U.pending_email,
    _U.pending_email_canonical,
    _U.pending_email_skeleton,
    _U.pending_password_hash,
)
_FIND = _READ.where(*_ONE_USER, _U.is_disabled.is_(False))
_FIND_ADDRESSES = Statement(_FIND)
_LOCK = Statement(_FIND.with_for_update(key_share=True))


def is_taken(canonical: ColumnElement[Any], skeleton: ColumnElement[Any]) -> ColumnElement[bool]:
    """In a statement on users: whether another user logs in with the address, or with a look-alike."""
    is_owner = or_(_O.email_canonical == canonical, _O.email_skeleton == skeleton)
    return select(_O.id).where(_O.brand_id == _U.brand_id, _O.id != _U.id, is_owner).correlate(users).exists()


# With the password that the caller has confirmed, or still without one.
_BY_CALLER = update(users).where(*_ONE_USER, _U.password_hash.is_not_distinct_from(bindparam("as_read")))
_SET_PENDING = Statement(
    _BY_CALLER.values(
        pending_email=bindparam("display"),
        pending_email_canonical=bindparam("canonical"),
        pending_email_skeleton=bindparam("skeleton"),
        pending_password_hash=bindparam("new_hash"),
        pending_session_id=bindparam("session_id"),
        pending_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_SET_LOGIN = Statement(
    _BY_CALLER.where(~is_taken(bindparam("canonical", type_=Text()), bindparam("skeleton", type_=Text()))).values(
        {
            **NO_CHANGE,
            "email": bindparam("display"),
            "email_canonical": bindparam("canonical"),
            "email_skeleton": bindparam("skeleton"),
            # Another spelling of a verified address is verified.
            "verified_at": case((_U.email_canonical == bindparam("canonical"), _U.verified_at), else_=null()),
            "password_hash": func.coalesce(bindparam("new_hash", type_=_U.password_hash.type), _U.password_hash),
            "updated_at": bindparam("now"),
        }
    )
)
# The address was already the login, unverified: a stranger may have set a password and logged in (security §13).
_WAS_UNVERIFIED_LOGIN = and_(_U.email_canonical == _U.pending_email_canonical, _U.verified_at.is_(None))
_ENDS_ALL = or_(_WAS_UNVERIFIED_LOGIN, _U.pending_session_id.is_(None))
_CHANGE = update(users).where(*_ONE_USER, _U.is_disabled.is_(False))
_COMPLETE = Statement(
    _CHANGE.where(
        _U.pending_email_canonical == bindparam("canonical"),
        ~is_taken(_U.pending_email_canonical, _U.pending_email_skeleton),
    ).values(
        {
            **NO_CHANGE,
            "email": _U.pending_email,
            "email_canonical": _U.pending_email_canonical,
            "email_skeleton": _U.pending_email_skeleton,
            "verified_at": bindparam("now"),
            "password_hash": case(
                (_WAS_UNVERIFIED_LOGIN, null()), else_=func.coalesce(_U.pending_password_hash, _U.password_hash)
            ),
            "session_epoch": _U.session_epoch + case((_ENDS_ALL, 1), else_=0),
            "updated_at": bindparam("now"),
        }
    )
)
_VERIFY_LOGIN = Statement(
    _CHANGE.where(_U.email_canonical == bindparam("canonical"), _U.verified_at.is_(None)).values(
        {
            **NO_CHANGE,
            "verified_at": bindparam("now"),
            "password_hash": null(),
            "session_epoch": _U.session_epoch + 1,
            "updated_at": bindparam("now"),
        }
    )
)
_DISARM_COMPETING = Statement(
    update(users)
    .where(
        _IN_BRAND,
        _U.id != bindparam("user_id"),
        _U.pending_email_skeleton == bindparam("skeleton"),
        or_(_U.pending_password_hash.is_not(None), _U.pending_session_id.is_not(None)),
    )
    .values(pending_password_hash=null(), pending_session_id=null())
)
_WITH_LOGIN = update(users).where(*_ONE_USER, _U.email_canonical.is_not(None)).values(NO_CHANGE)
_CANCEL = Statement(_WITH_LOGIN)
_CANCEL_OF_SESSION = Statement(_WITH_LOGIN.where(_U.pending_session_id == bindparam("session_id")))
_FIND_OWNER = Statement(
    select(_U.id, _U.email, _U.email_canonical)
    .where(
        _IN_BRAND,
        _U.id != bindparam("user_id"),
        or_(_U.email_canonical == bindparam("canonical"), _U.email_skeleton == bindparam("skeleton")),
    )
    # An address can be one user's login and look like another's: mail goes to the exact match.
    .order_by(case((_U.email_canonical == bindparam("canonical"), 0), else_=1))
    .limit(1)
)


def _address(display: str | None, canonical: str | None, skeleton: str | None) -> EmailAddress | None:
    if display is None or canonical is None or skeleton is None:
        return None
    return EmailAddress(display, canonical, skeleton)


def _addresses(row: Row) -> Addresses:
    return Addresses(
        login=_address(*row[3:6]),
        is_verified=row[1] is not None,
        pending=_address(*row[6:9]),
        requesting_session_id=row[2],
        pending_hash=row[9],
    )


async def find_addresses(tx: Tx, brand_id: str, user_id: str) -> Addresses | None:
    """The user's addresses; None for an unknown or disabled user."""
    row = await tx.find(_FIND_ADDRESSES, brand_id=brand_id, user_id=user_id)
    return None if row is None else _addresses(row)


async def lock_addresses(tx: Tx, brand_id: str, user_id: str) -> Addresses | None:
    """The same, with the user's row locked until the transaction ends."""
    row = await tx.find(_LOCK, brand_id=brand_id, user_id=user_id)
    return None if row is None else _addresses(row)


async def set_pending(
    tx: Tx,
    brand_id: str,
    user_id: str,
    session_id: str,
    address: EmailAddress,
    now: datetime,
    *,
    as_read: str | None,
    new_hash: str | None,
) -> bool:
    """Set the pending address and password hash, in place of an older pending change.

    ``session_id`` is the session that requests it. False when the user's password hash is no longer ``as_read``.
    """
    changed = await tx.execute(
        _SET_PENDING,
        brand_id=brand_id,
        user_id=user_id,
        session_id=session_id,
        display=address.display,
        canonical=address.canonical,
        skeleton=address.skeleton,
        as_read=as_read,
        new_hash=new_hash,
        now=now,
    )
    return changed > 0


async def set_login(
    tx: Tx,
    brand_id: str,
    user_id: str,
    address: EmailAddress,
    now: datetime,
    *,
    as_read: str | None,
    new_hash: str | None,
) -> bool:
    """Make the address the login without verification, and ``new_hash``, if given, the password.

    False when the user's password hash is no longer ``as_read``, or the address is another user's login.

    :raises UniqueViolation: when another user is given the address concurrently.
    """
    changed = await tx.execute(
        _SET_LOGIN,
        brand_id=brand_id,
        user_id=user_id,
        display=address.display,
        canonical=address.canonical,
        skeleton=address.skeleton,
        as_read=as_read,
        new_hash=new_hash,
        now=now,
    )
    return changed > 0


async def complete(tx: Tx, brand_id: str, user_id: str, canonical: str, now: datetime) -> bool:
    """Make the pending address the login, verified, with the password that was chosen with it.

    False unless it is the user's pending address and no other user's login. All their sessions end, by their epoch,
    unless a session requested the change. An address that was the login unverified loses every password.

    :raises UniqueViolation: when another user is given the address concurrently.
    """
    changed = await tx.execute(_COMPLETE, brand_id=brand_id, user_id=user_id, canonical=canonical, now=now)
    return changed > 0


async def verify_login(tx: Tx, brand_id: str, user_id: str, canonical: str, now: datetime) -> bool:
    """Mark an unverified login address as verified; drop pending change and passwords, and end all sessions.

    False when this is not the user's login address, or it was verified before.
    """
    changed = await tx.execute(_VERIFY_LOGIN, brand_id=brand_id, user_id=user_id, canonical=canonical, now=now)
    return changed > 0


async def disarm_competing(tx: Tx, brand_id: str, user_id: str, skeleton: str) -> None:
    """Drop the passwords that other users chose with pending changes to this address or a look-alike.

    The address stays in their rows: to them it looks as before, like any address that is taken.
    """
    await tx.execute(_DISARM_COMPETING, brand_id=brand_id, user_id=user_id, skeleton=skeleton)


async def cancel(tx: Tx, brand_id: str, user_id: str) -> bool:
    """Drop the pending change of a user with a login address; False for a user without one, whose change stays."""
    return await tx.execute(_CANCEL, brand_id=brand_id, user_id=user_id) > 0


async def cancel_of_session(tx: Tx, brand_id: str, user_id: str, session_id: str) -> bool:
    """The same if this session requested the change; False for any other change, too."""
    changed = await tx.execute(_CANCEL_OF_SESSION, brand_id=brand_id, user_id=user_id, session_id=session_id)
    return changed > 0


async def find_owner(tx: Tx, brand_id: str, user_id: str, address: EmailAddress) -> AddressOwner | None:
    """The other user who logs in with the address, or with a look-alike."""
    row = await tx.find(
        _FIND_OWNER, brand_id=brand_id, user_id=user_id, canonical=address.canonical, skeleton=address.skeleton
    )
    return None if row is None else AddressOwner(*row)
