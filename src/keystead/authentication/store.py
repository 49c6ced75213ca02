"""SQL that joins sessions with their users and brands. No table stands here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Boolean, and_, bindparam, or_, select, update

from keystead.brands.model import active_brand
from keystead.brands.store import BRAND_COLUMNS, brands
from keystead.context import ActiveBrand, Profile
from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement
from keystead.policy import SessionKind
from keystead.sessions.model import Device
from keystead.sessions.store import ALIVE, OF_ONE_PERSON_AND_BRAND, b, s, sessions, u
from keystead.users.claims.store import NO_CLAIM
from keystead.users.store import PROFILE_COLUMNS, read_profile, users

_KINDS = {kind.value: kind for kind in SessionKind}
_BRAND_WIDTH = len(BRAND_COLUMNS)

_ONE_USER = (u.brand_id == bindparam("brand_id"), u.id == bindparam("user_id"))

_CAN_LOG_IN = and_(
    u.email_canonical.is_not(None),
    or_(
        and_(u.password_hash.is_not(None), bindparam("password_login", type_=Boolean()).is_(True)),
        bindparam("magic_login", type_=Boolean()).is_(True),
    ),
)
_END_ALL = Statement(
    update(users)
    .where(*_ONE_USER, or_(bindparam("force", type_=Boolean()).is_(True), _CAN_LOG_IN))
    .values(session_epoch=u.session_epoch + 1)
)
IS_STILL_SIGNED_IN = (
    select(s.id)
    .select_from(sessions.join(brands, b.id == s.brand_id))
    .where(s.id == bindparam("session_id"), s.brand_id == u.brand_id, s.user_id == u.id, ALIVE)
    .correlate(users)
    .exists()
)
"""In a statement on users: whether the session ``session_id`` is that user's, and alive."""

_CHANGE_PASSWORD = Statement(
    update(users)
    .where(*_ONE_USER, u.password_hash == bindparam("as_read"), IS_STILL_SIGNED_IN)
    .values(password_hash=bindparam("new"), updated_at=bindparam("at"))
)

# Claims and sessions go with the old password: whoever has been in the account is out of it (security §4, §13).
_RESET_PASSWORD = Statement(
    update(users)
    .where(*_ONE_USER, u.email_canonical == bindparam("canonical"), u.is_disabled.is_(False))
    .values(
        {
            **NO_CLAIM,
            "password_hash": bindparam("new"),
            "session_epoch": u.session_epoch + 1,
            "updated_at": bindparam("at"),
        }
    )
)


class SignedIn(msgspec.Struct, frozen=True):
    """What the row of a session that is alive says of its user."""

    kind: SessionKind
    brand: ActiveBrand
    profile: Profile


class SessionOwner(msgspec.Struct, frozen=True):
    """Whom a session belongs to, and from where it was opened."""

    user_id: str
    email: str
    """The login address as it is stored: mail goes there."""
    email_canonical: str
    device: Device
    brand: ActiveBrand


def _signed_in(row: Row) -> SignedIn:
    brand = active_brand(row[1 : _BRAND_WIDTH + 1])
    profile = read_profile(row[_BRAND_WIDTH + 1 :], brand.policy.default_permissions)
    return SignedIn(_KINDS[row[0]], brand, profile)


# Security §4: one row, by primary keys, for every request of a signed-in user.
_FIND_SIGNED_IN = Statement(
    select(s.kind, *BRAND_COLUMNS, *PROFILE_COLUMNS)
    .select_from(OF_ONE_PERSON_AND_BRAND)
    .where(
        s.id == bindparam("session_id"),
        s.brand_id == bindparam("brand_id"),
        s.user_id == bindparam("user_id"),
        ALIVE,
    ),
    shape=_signed_in,
)

_FIND_SESSION_OWNER = Statement(
    select(u.id, u.email, u.email_canonical, s.ip_prefix, s.user_agent, *BRAND_COLUMNS)
    .select_from(OF_ONE_PERSON_AND_BRAND)
    .where(s.id == bindparam("session_id"), s.brand_id == bindparam("brand_id"))
    # An address that was never proved may be anybody's: mail would go to them, as often as somebody likes.
    .where(u.email_canonical.is_not(None), u.verified_at.is_not(None))
)


async def find_signed_in(tx: Tx, brand_id: str, user_id: str, session_id: str) -> SignedIn | None:
    """The session, its user and its brand; None unless all three are there and alive."""
    found: Any = await tx.find(_FIND_SIGNED_IN, brand_id=brand_id, user_id=user_id, session_id=session_id)
    signed_in: SignedIn | None = found
    return signed_in


async def end_all_sessions(
    tx: Tx, brand_id: str, user_id: str, *, password_login: bool, magic_login: bool, force: bool
) -> bool:
    """Ends every session of the user at once, by their epoch; False when they could not log in again.

    ``password_login`` and ``magic_login`` say which ways in the brand offers.
    """
    changed = await tx.execute(
        _END_ALL,
        brand_id=brand_id,
        user_id=user_id,
        password_login=password_login,
        magic_login=magic_login,
        force=force,
    )
    return changed > 0


async def change_password(
    tx: Tx, brand_id: str, user_id: str, session_id: str, as_read: str, new: str, at: datetime
) -> bool:
    """Sets the new hash; False when the old one is not ``as_read`` any more, or the session is over."""
    changed = await tx.execute(
        _CHANGE_PASSWORD,
        brand_id=brand_id,
        user_id=user_id,
        session_id=session_id,
        as_read=as_read,
        new=new,
        at=at,
    )
    return changed > 0


async def reset_password(tx: Tx, brand_id: str, user_id: str, canonical: str, new: str, at: datetime) -> bool:
    """Sets the hash, drops what the user claims and ends all their sessions, by their epoch.

    False when the address is not their login any more, or they are disabled.
    """
    changed = await tx.execute(_RESET_PASSWORD, brand_id=brand_id, user_id=user_id, canonical=canonical, new=new, at=at)
    return changed > 0


async def find_session_owner(tx: Tx, brand_id: str, session_id: str) -> SessionOwner | None:
    """Whom the session belongs to, alive or ended; None for a user without a login address that was proved."""
    row = await tx.find(_FIND_SESSION_OWNER, brand_id=brand_id, session_id=session_id)
    return None if row is None else SessionOwner(row[0], row[1], row[2], Device(row[3], row[4]), active_brand(row[5:]))
