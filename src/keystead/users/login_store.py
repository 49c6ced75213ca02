"""SQL of logins: password hashes, admission to a new session, and the epoch that ends all sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, or_, select, update

from keystead.brands.store import brands
from keystead.db.interface import Tx
from keystead.db.statements import Statement
from keystead.db.types import Boolean
from keystead.installation.store import CURRENT_KEYRING_VERSION
from keystead.users.email_change_store import NO_CHANGE
from keystead.users.model import LoginCandidate
from keystead.users.store import users

_U = users.c
_IN_BRAND = _U.brand_id == bindparam("brand_id")
_LOGINS = select(_U.id, _U.password_hash, _U.is_disabled).where(_IN_BRAND)


def _change(*conditions: ColumnElement[bool], **values: Any) -> Statement:
    one_user = (_IN_BRAND, _U.id == bindparam("user_id"))
    return Statement(update(users).where(*one_user, *conditions).values(**values))


_FIND_LOGIN = Statement(_LOGINS.where(_U.email_canonical == bindparam("canonical")))
_FIND_LOGIN_OF = Statement(_LOGINS.where(_U.id == bindparam("user_id"), _U.email_canonical.is_not(None)))

_OPEN_BRAND = (
    select(brands.c.id).where(brands.c.id == _U.brand_id, brands.c.is_disabled.is_(False)).correlate(users).exists()
)
# Locks and checks the user's row first, so that neither a new password nor a log-out-everywhere comes in between. The
# session is opened with the epoch that this returns.
_ADMIT = (
    update(users)
    .where(_IN_BRAND, _U.id == bindparam("user_id"), _U.is_disabled.is_(False), _OPEN_BRAND)
    .values(last_login_at=bindparam("at"))
    .returning(_U.session_epoch, CURRENT_KEYRING_VERSION)
)
_ADMIT_WITHOUT_PASSWORD = Statement(_ADMIT)
_ADMIT_WITH_PASSWORD = Statement(_ADMIT.where(_U.password_hash == bindparam("as_read")))

_NEXT_EPOCH = _U.session_epoch + 1
_BUMP_EPOCH = _change(session_epoch=_NEXT_EPOCH)
_CAN_LOG_IN = and_(
    _U.email_canonical.is_not(None),
    or_(
        and_(_U.password_hash.is_not(None), bindparam("password_login", type_=Boolean()).is_(True)),
        bindparam("magic_login", type_=Boolean()).is_(True),
    ),
)
_END_ALL = _change(or_(bindparam("force", type_=Boolean()).is_(True), _CAN_LOG_IN), session_epoch=_NEXT_EPOCH)
_HAS_HASH = _U.password_hash == bindparam("as_read")
_REPLACE_HASH = _change(_HAS_HASH, password_hash=bindparam("new"))
_CHANGE_PASSWORD = _change(
    _HAS_HASH, _U.is_disabled.is_(False), password_hash=bindparam("new"), updated_at=bindparam("at")
)
# The pending change and all sessions end with the old password: an intruder is signed out (security §4, §13).
_RESET_PASSWORD = _change(
    _U.email_canonical == bindparam("canonical"),
    _U.is_disabled.is_(False),
    **NO_CHANGE,
    password_hash=bindparam("new"),
    session_epoch=_NEXT_EPOCH,
    updated_at=bindparam("at"),
)


async def find_login(tx: Tx, brand_id: str, canonical: str) -> LoginCandidate | None:
    """The user who logs in with the address; a pending address is no login."""
    row = await tx.find(_FIND_LOGIN, brand_id=brand_id, canonical=canonical)
    return None if row is None else LoginCandidate(*row)


async def find_login_of(tx: Tx, brand_id: str, user_id: str) -> LoginCandidate | None:
    """The same by the user's id; None for a user without a login address."""
    row = await tx.find(_FIND_LOGIN_OF, brand_id=brand_id, user_id=user_id)
    return None if row is None else LoginCandidate(*row)


async def admit(tx: Tx, brand_id: str, user_id: str, password_hash: str | None, at: datetime) -> tuple[int, int] | None:
    """Record a login; return the user's epoch and the keyring's version, or None when the user may not log in.

    ``password_hash`` is the one that the password was verified against: None is returned when it has changed since. It
    is None where no password is asked for.
    """
    if password_hash is None:
        row = await tx.find(_ADMIT_WITHOUT_PASSWORD, brand_id=brand_id, user_id=user_id, at=at)
    else:
        row = await tx.find(_ADMIT_WITH_PASSWORD, brand_id=brand_id, user_id=user_id, as_read=password_hash, at=at)
    return None if row is None else (int(row[0]), int(row[1]))


async def bump_epoch(tx: Tx, brand_id: str, user_id: str) -> None:
    """End all sessions of the user (security §3)."""
    await tx.execute(_BUMP_EPOCH, brand_id=brand_id, user_id=user_id)


async def end_all_sessions(
    tx: Tx, brand_id: str, user_id: str, *, password_login: bool, magic_login: bool, force: bool
) -> bool:
    """End all sessions of the user, by their epoch; unless ``force``, False when they could not log in again.

    ``password_login`` and ``magic_login`` are the brand's features.
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


async def replace_hash(tx: Tx, brand_id: str, user_id: str, as_read: str, new: str) -> bool:
    """Replace the password hash if it is still ``as_read`` (compare-and-swap); return whether it was replaced."""
    return await tx.execute(_REPLACE_HASH, brand_id=brand_id, user_id=user_id, as_read=as_read, new=new) > 0


async def change_password(tx: Tx, brand_id: str, user_id: str, as_read: str, new: str, at: datetime) -> bool:
    """Set a new password hash; False when the old one is no longer ``as_read``, or the user is disabled."""
    changed = await tx.execute(_CHANGE_PASSWORD, brand_id=brand_id, user_id=user_id, as_read=as_read, new=new, at=at)
    return changed > 0


async def reset_password(tx: Tx, brand_id: str, user_id: str, canonical: str, new: str, at: datetime) -> bool:
    """Set a new password hash, drop the pending e-mail change and end all sessions, by the epoch.

    False when the address is no longer the user's login, or the user is disabled.
    """
    changed = await tx.execute(_RESET_PASSWORD, brand_id=brand_id, user_id=user_id, canonical=canonical, new=new, at=at)
    return changed > 0
