"""SQL of claims. They are columns of the user's own row, so that one statement moves an address from claim to login."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import and_, bindparam, case, func, null, or_, select, update

from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement
from keystead.users.claims.model import Addresses, AddressOwner
from keystead.users.email_addresses import EmailAddress
from keystead.users.store import users

_U, _O = users.c, users.alias("owners").c
_IN_BRAND = _U.brand_id == bindparam("brand_id")
_ONE_USER = (_IN_BRAND, _U.id == bindparam("user_id"))
NO_CLAIM = {name: null() for name in users.columns.keys() if name.startswith("pending_")}  # noqa: SIM118
"""What the columns of a claim hold where there is none."""

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
_IS_TAKEN = (
    select(_O.id)
    .where(
        _O.brand_id == _U.brand_id,
        _O.id != _U.id,
        or_(_O.email_canonical == _U.pending_email_canonical, _O.email_skeleton == _U.pending_email_skeleton),
    )
    .correlate(users)
    .exists()
)
# The address was a login already, without proof: whoever got it may have set a password and signed in (security §13).
_WAS_GRANTED = and_(_U.email_canonical == _U.pending_email_canonical, _U.verified_at.is_(None))
_ENDS_ALL = or_(_WAS_GRANTED, _U.pending_session_id.is_(None))
_CHANGE = update(users).where(*_ONE_USER, _U.is_disabled.is_(False))
_GRANT = Statement(
    _CHANGE.where(_U.pending_email_canonical == bindparam("canonical"), ~_IS_TAKEN).values(
        {
            **NO_CLAIM,
            "email": _U.pending_email,
            "email_canonical": _U.pending_email_canonical,
            "email_skeleton": _U.pending_email_skeleton,
            "verified_at": bindparam("now"),
            "password_hash": case(
                (_WAS_GRANTED, null()), else_=func.coalesce(_U.pending_password_hash, _U.password_hash)
            ),
            "session_epoch": _U.session_epoch + case((_ENDS_ALL, 1), else_=0),
            "updated_at": bindparam("now"),
        }
    )
)
_PROVE_LOGIN = Statement(
    _CHANGE.where(_U.email_canonical == bindparam("canonical"), _U.verified_at.is_(None)).values(
        {
            **NO_CLAIM,
            "verified_at": bindparam("now"),
            "password_hash": null(),
            "session_epoch": _U.session_epoch + 1,
            "updated_at": bindparam("now"),
        }
    )
)
_DISARM_RIVALS = Statement(
    update(users)
    .where(
        _IN_BRAND,
        _U.id != bindparam("user_id"),
        _U.pending_email_skeleton == bindparam("skeleton"),
        or_(_U.pending_password_hash.is_not(None), _U.pending_session_id.is_not(None)),
    )
    .values(pending_password_hash=null(), pending_session_id=null())
)
_WITHDRAW = Statement(update(users).where(*_ONE_USER, _U.email_canonical.is_not(None)).values(NO_CLAIM))
_WITHDRAW_OF_SESSION = Statement(
    update(users)
    .where(*_ONE_USER, _U.email_canonical.is_not(None), _U.pending_session_id == bindparam("session_id"))
    .values(NO_CLAIM)
)
_FIND_OWNER = Statement(
    select(_U.id, _U.email, _U.email_canonical)
    .where(
        _IN_BRAND,
        _U.id != bindparam("user_id"),
        or_(_U.email_canonical == bindparam("canonical"), _U.email_skeleton == bindparam("skeleton")),
    )
    # An address can be one owner's and look like another's: mail goes to whom it is.
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
        is_proved=row[1] is not None,
        pending=_address(*row[6:9]),
        claiming_session_id=row[2],
        pending_hash=row[9],
    )


async def find_addresses(tx: Tx, brand_id: str, user_id: str) -> Addresses | None:
    """The user's addresses; None for nobody and for a disabled user."""
    row = await tx.find(_FIND_ADDRESSES, brand_id=brand_id, user_id=user_id)
    return None if row is None else _addresses(row)


async def lock_addresses(tx: Tx, brand_id: str, user_id: str) -> Addresses | None:
    """The same, held still until the transaction ends."""
    row = await tx.find(_LOCK, brand_id=brand_id, user_id=user_id)
    return None if row is None else _addresses(row)


async def grant_claim(tx: Tx, brand_id: str, user_id: str, canonical: str, now: datetime) -> bool:
    """Makes the claimed address the login, proved, with the password that came with it.

    False unless it is what the user claims now, and is nobody else's login. All their sessions end, by their epoch,
    unless one of them made the claim. An address that had been a login without proof loses every password.

    :raises UniqueViolation: when somebody else was given the address at this moment.
    """
    changed = await tx.execute(_GRANT, brand_id=brand_id, user_id=user_id, canonical=canonical, now=now)
    return changed > 0


async def prove_login(tx: Tx, brand_id: str, user_id: str, canonical: str, now: datetime) -> bool:
    """Notes that a login granted without proof is proved; drops claim and passwords, and ends all sessions.

    False when this is not the user's login address, or it was proved before.
    """
    changed = await tx.execute(_PROVE_LOGIN, brand_id=brand_id, user_id=user_id, canonical=canonical, now=now)
    return changed > 0


async def disarm_rivals(tx: Tx, brand_id: str, user_id: str, skeleton: str) -> None:
    """Drops the passwords that everybody else chose with their claims on this address and on those that look the same.

    The address stays in their rows: to them it looks as before, like any other that is taken.
    """
    await tx.execute(_DISARM_RIVALS, brand_id=brand_id, user_id=user_id, skeleton=skeleton)


async def withdraw(tx: Tx, brand_id: str, user_id: str) -> bool:
    """Drops what a user with a login address claims; False for a user without one, whose claim stays."""
    return await tx.execute(_WITHDRAW, brand_id=brand_id, user_id=user_id) > 0


async def withdraw_of_session(tx: Tx, brand_id: str, user_id: str, session_id: str) -> bool:
    """The same, if it was this session that claimed it; False for any other claim, too."""
    changed = await tx.execute(_WITHDRAW_OF_SESSION, brand_id=brand_id, user_id=user_id, session_id=session_id)
    return changed > 0


async def find_owner(tx: Tx, brand_id: str, user_id: str, address: EmailAddress) -> AddressOwner | None:
    """Who else logs in with the address, or with one that looks the same."""
    row = await tx.find(
        _FIND_OWNER, brand_id=brand_id, user_id=user_id, canonical=address.canonical, skeleton=address.skeleton
    )
    return None if row is None else AddressOwner(*row)
