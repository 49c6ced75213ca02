"""SQL of claims that a session makes. It must be alive in the very statement that writes the claim."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import and_, bindparam, case, func, null, or_, select, update

from keystead.authentication.store import IS_STILL_SIGNED_IN
from keystead.db.interface import Tx
from keystead.db.statements import Statement
from keystead.sessions.model import THROWN_OUT, Device
from keystead.sessions.store import s, sessions
from keystead.users.claims.store import NO_CLAIM
from keystead.users.email_addresses import EmailAddress
from keystead.users.store import users

_U, _O = users.c, users.alias("owners").c
_ONE_USER = (_U.brand_id == bindparam("brand_id"), _U.id == bindparam("user_id"))
_IS_TAKEN = (
    select(_O.id)
    .where(
        _O.brand_id == _U.brand_id,
        _O.id != _U.id,
        or_(_O.email_canonical == bindparam("canonical"), _O.email_skeleton == bindparam("skeleton")),
    )
    .correlate(users)
    .exists()
)
# With the password that the caller has confirmed, or still without one.
_BY_CALLER = update(users).where(
    *_ONE_USER, _U.password_hash.is_not_distinct_from(bindparam("as_read")), IS_STILL_SIGNED_IN
)
_CLAIM = Statement(
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
_GRANT = Statement(
    _BY_CALLER.where(~_IS_TAKEN).values(
        {
            **NO_CLAIM,
            "email": bindparam("display"),
            "email_canonical": bindparam("canonical"),
            "email_skeleton": bindparam("skeleton"),
            # Another spelling of an address that was proved is proved.
            "verified_at": case((_U.email_canonical == bindparam("canonical"), _U.verified_at), else_=null()),
            "password_hash": func.coalesce(bindparam("new_hash", type_=_U.password_hash.type), _U.password_hash),
            "updated_at": bindparam("now"),
        }
    )
)
_FIND_STANDING = Statement(
    select(
        _U.created_at,
        _U.email,
        _U.email_canonical,
        _U.verified_at.is_not(None),
        _U.pending_email_canonical,
        _U.pending_at,
        _U.pending_session_id.is_not(None),
        _U.pending_password_hash.is_not(None),
        s.ip_prefix,
        s.user_agent,
        s.id.is_(None),
        s.end_reason,
        _IS_TAKEN,
    )
    .select_from(
        users.outerjoin(sessions, and_(s.id == _U.pending_session_id, s.brand_id == _U.brand_id, s.user_id == _U.id))
    )
    .where(*_ONE_USER, _U.is_disabled.is_(False))
)


class AddressStanding(msgspec.Struct, frozen=True):
    """How a user stands to an address that a link was sent to."""

    user_created_at: datetime
    login: str | None
    """The login address as it is stored."""
    is_login: bool
    """Whether the address is it."""
    is_proved: bool
    """Whether the login was ever proved."""
    is_claim: bool
    """Whether the address is the one that waits for proof, and the session that claimed it was not thrown out."""
    claimed_at: datetime | None
    claimed_by_session: bool
    claimed_from: Device
    sets_password: bool
    is_taken: bool
    """Whether somebody else logs in with the address, or with one that looks the same."""


async def claim(
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
    """Puts the claim in the place of the user's older one; ``new_hash`` waits with it.

    False when the session is over, or the user's password is not ``as_read`` any more.
    """
    return await _write(tx, brand_id, user_id, session_id, address, now, as_read, new_hash, _CLAIM)


async def grant(
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
    """Makes the address the login at once, without proof, and ``new_hash``, if there is one, the password.

    False as above, and when the address is somebody else's login.

    :raises UniqueViolation: when somebody else was given the address at this moment.
    """
    return await _write(tx, brand_id, user_id, session_id, address, now, as_read, new_hash, _GRANT)


async def _write(
    tx: Tx,
    brand_id: str,
    user_id: str,
    session_id: str,
    address: EmailAddress,
    now: datetime,
    as_read: str | None,
    new_hash: str | None,
    statement: Statement,
) -> bool:
    changed = await tx.execute(
        statement,
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


async def find_standing(tx: Tx, brand_id: str, user_id: str, canonical: str, skeleton: str) -> AddressStanding | None:
    """How the user stands to the address; None for nobody and for a disabled user."""
    row = await tx.find(_FIND_STANDING, brand_id=brand_id, user_id=user_id, canonical=canonical, skeleton=skeleton)
    if row is None:
        return None
    # As in ``claimers``: the claim of a session of which nothing is known any more is no better than an intruder's.
    was_thrown_out = bool(row[6]) and (bool(row[10]) or row[11] in THROWN_OUT)
    return AddressStanding(
        user_created_at=row[0],
        login=row[1],
        is_login=row[2] == canonical,
        is_proved=bool(row[3]),
        is_claim=row[4] == canonical and not (row[1] and was_thrown_out),
        claimed_at=row[5],
        claimed_by_session=bool(row[6]),
        sets_password=bool(row[7]),
        claimed_from=Device(row[8], row[9]),
        is_taken=bool(row[12]),
    )
