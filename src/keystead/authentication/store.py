"""SQL that joins sessions with their users and brands; has no tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, select

from keystead.brands.model import active_brand
from keystead.brands.store import BRAND_COLUMNS
from keystead.context import ActiveBrand, Profile
from keystead.db.interface import Row, Tx
from keystead.db.statements import Statement
from keystead.db.types import Text
from keystead.policy import SessionKind
from keystead.sessions.model import REVOKING_REASONS, Device
from keystead.sessions.store import ALIVE, OF_ONE_PERSON_AND_BRAND, s, sessions, u
from keystead.users.email_change_store import is_taken
from keystead.users.store import PROFILE_COLUMNS, read_profile, users

_KINDS = {kind.value: kind for kind in SessionKind}
_BRAND_WIDTH = len(BRAND_COLUMNS)


class SignedIn(msgspec.Struct, frozen=True):
    """A session that is alive, with its user and brand."""

    kind: SessionKind
    brand: ActiveBrand
    profile: Profile


class SessionOwner(msgspec.Struct, frozen=True):
    """The owner of a session, and where it was opened from."""

    user_id: str
    email: str
    """The login address as it is stored; mail goes there."""
    email_canonical: str
    device: Device
    brand: ActiveBrand


class AddressState(msgspec.Struct, frozen=True):
    """What an address that a link was sent to is to its user: the login, a pending address, or neither."""

    user_created_at: datetime
    login: str | None
    """The login address as it is stored."""
    is_login: bool
    """Whether the address is the login."""
    is_verified: bool
    """Whether the login was ever verified."""
    is_pending: bool
    """Whether the address is pending, and the session that requested it was not revoked."""
    requested_at: datetime | None
    requested_by_session: bool
    requested_from: Device
    sets_password: bool
    is_taken: bool
    """Whether another user logs in with the address, or with a look-alike."""


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
    # An unverified address may be a stranger's: repeated reuse would send them mail.
    .where(u.email_canonical.is_not(None), u.verified_at.is_not(None))
)

_FIND_ADDRESS_STATE = Statement(
    select(
        u.created_at,
        u.email,
        u.email_canonical,
        u.verified_at.is_not(None),
        u.pending_email_canonical,
        u.pending_at,
        u.pending_session_id.is_not(None),
        u.pending_password_hash.is_not(None),
        s.ip_prefix,
        s.user_agent,
        s.id.is_(None),
        s.end_reason,
        is_taken(bindparam("canonical", type_=Text()), bindparam("skeleton", type_=Text())),
    )
    .select_from(
        users.outerjoin(sessions, and_(s.id == u.pending_session_id, s.brand_id == u.brand_id, s.user_id == u.id))
    )
    .where(u.brand_id == bindparam("brand_id"), u.id == bindparam("user_id"), u.is_disabled.is_(False))
)


async def find_signed_in(tx: Tx, brand_id: str, user_id: str, session_id: str) -> SignedIn | None:
    """The session, its user and its brand; None unless the session is alive and both are active."""
    found: Any = await tx.find(_FIND_SIGNED_IN, brand_id=brand_id, user_id=user_id, session_id=session_id)
    signed_in: SignedIn | None = found
    return signed_in


async def find_session_owner(tx: Tx, brand_id: str, session_id: str) -> SessionOwner | None:
    """The owner of a session, alive or ended; None for a user without a verified login address."""
    row = await tx.find(_FIND_SESSION_OWNER, brand_id=brand_id, session_id=session_id)
    return None if row is None else SessionOwner(row[0], row[1], row[2], Device(row[3], row[4]), active_brand(row[5:]))


async def find_address_state(tx: Tx, brand_id: str, user_id: str, canonical: str, skeleton: str) -> AddressState | None:
    """What the address is to the user; None for an unknown or disabled user."""
    row = await tx.find(_FIND_ADDRESS_STATE, brand_id=brand_id, user_id=user_id, canonical=canonical, skeleton=skeleton)
    if row is None:
        return None
    # As in ``email_change_steps``: a session that no longer exists counts as revoked.
    was_revoked = bool(row[6]) and (bool(row[10]) or row[11] in REVOKING_REASONS)
    return AddressState(
        user_created_at=row[0],
        login=row[1],
        is_login=row[2] == canonical,
        is_verified=bool(row[3]),
        is_pending=row[4] == canonical and not (row[1] and was_revoked),
        requested_at=row[5],
        requested_by_session=bool(row[6]),
        sets_password=bool(row[7]),
        requested_from=Device(row[8], row[9]),
        is_taken=bool(row[12]),
    )
