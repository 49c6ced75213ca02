"""SQL of one-time tokens. A user has at most one for each purpose: the newest (security §13)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, ForeignKey, Index, Table, and_, bindparam, delete, select, union_all, update
from sqlalchemy.dialects.postgresql import Insert

from keystead.brands.model import active_brand
from keystead.brands.store import BRAND_COLUMNS, IS_ACTIVE, brands
from keystead.context import ActiveBrand
from keystead.db.interface import Row, Tx, pointing_at_what_was_there
from keystead.db.statements import Statement, any_of, insert
from keystead.db.types import Boolean, Digest, Id, Text, UtcTime, metadata
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens.model import OneTimeToken, TokenPurpose
from keystead.users.store import users

one_time_tokens = Table(
    "one_time_tokens",
    metadata,
    # One row for each purpose: a new token takes the place of the older one, which is dead with that. Not for each kind
    # of secret: whoever asks for a link to log in would kill the link for a claim, and the token that an app waits for.
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("digest", Digest, nullable=False, unique=True),
    # The address that it was sent to, in its three forms: of another one it proves nothing.
    Column("email", Text, nullable=False),
    Column("email_canonical", Text, nullable=False),
    Column("email_skeleton", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("consumed_at", UtcTime),
    # The brand last: an index that begins with it would be taken for a user's tokens, too, and read all of the brand.
    Index("ix_one_time_tokens_email_skeleton_brand_id", "email_skeleton", "brand_id"),
    Index("ix_one_time_tokens_expires_at", "expires_at"),
)

_T, _U = one_time_tokens.c, users.c
_SHOWN = [_T[name] for name in OneTimeToken.__struct_fields__]
_NEW = ("user_id", "purpose", "brand_id", "digest", "email", "email_canonical", "email_skeleton")
_TIMES = ("created_at", "expires_at")
_REPLACED = ("digest", "email", "email_canonical", "email_skeleton", *_TIMES)
_given = {name: bindparam(name, type_=_T[name].type) for name in (*_NEW, *_TIMES)}

# A login address, read and bound to the token in one statement.
_LOGIN = select(
    _U.id,
    _given["purpose"],
    _U.brand_id,
    _given["digest"],
    _U.email,
    _U.email_canonical,
    _U.email_skeleton,
    _given["created_at"],
    _given["expires_at"],
).where(
    _U.brand_id == bindparam("brand_id"),
    _U.email_canonical == bindparam("canonical"),
    _U.is_disabled.is_(False),
)


def _replacing(statement: Insert) -> Statement:
    """The statement, putting the new token in the place of the user's older one for that purpose."""
    changed = {name: statement.excluded[name] for name in _REPLACED} | {"consumed_at": None}
    return Statement(
        statement.on_conflict_do_update(
            index_elements=["user_id", "purpose"], set_=changed, where=_T.brand_id == bindparam("brand_id")
        ).returning(*_SHOWN)
    )


# What is not allowed makes no row and costs the same.
_TO_ONE = select(*_given.values()).where(
    _U.brand_id == _given["brand_id"],
    _U.id == _given["user_id"],
    bindparam("is_allowed", type_=Boolean()).is_(True),
)
_ISSUE = _replacing(insert(one_time_tokens).from_select([*_NEW, *_TIMES], _TO_ONE))
_ISSUE_TO_LOGIN = _replacing(insert(one_time_tokens).from_select([*_NEW, *_TIMES], _LOGIN))

# Good at this moment: neither used nor run out. To be of use, its user and brand have to be open, too.
_IS_GOOD = and_(_T.digest == bindparam("digest"), _T.consumed_at.is_(None), _T.expires_at > bindparam("now"))
_USER_IS_OPEN = (
    select(_U.id)
    .join(brands, brands.c.id == _U.brand_id)
    .where(_U.id == _T.user_id, _U.brand_id == _T.brand_id, _U.is_disabled.is_(False), IS_ACTIVE)
    .correlate(one_time_tokens)
    .exists()
)
_FIND = Statement(
    select(*_SHOWN, *BRAND_COLUMNS)
    .join_from(one_time_tokens, brands, brands.c.id == _T.brand_id)
    .where(_IS_GOOD, IS_ACTIVE, _USER_IS_OPEN),
    unbranded="the digest of the token names the brand",
)
_LOOK = Statement(select(_T.digest).where(_IS_GOOD), unbranded="the digest of the token names the brand")
_OWN = (_T.brand_id == bindparam("brand_id"), _IS_GOOD, _USER_IS_OPEN)
_PRESENTED = (_T.brand_id == bindparam("brand_id"), _T.digest == bindparam("digest"))
_RIVALS = users.alias("rivals")
# Its user and, where it proves an address, all others who claim that: in one order, so that two of them who prove it at
# the same moment wait for each other instead of dead-locking.
_CONCERNED = select(_T.user_id).where(*_PRESENTED)
_CONCERNED_RIVALS = select(_RIVALS.c.id).where(
    *_PRESENTED,
    any_of(_T.purpose, "proving"),
    _RIVALS.c.brand_id == _T.brand_id,
    _RIVALS.c.pending_email_skeleton == _T.email_skeleton,
)
_LOCK_USERS = Statement(
    select(_U.id)
    .where(_U.brand_id == bindparam("brand_id"), _U.id.in_(union_all(_CONCERNED, _CONCERNED_RIVALS)))
    .order_by(_U.id)
    .with_for_update(key_share=True, of=users)
)
_CONSUME = Statement(update(one_time_tokens).where(*_OWN).values(consumed_at=bindparam("now")).returning(*_SHOWN))
_IN_BRAND = _T.brand_id == bindparam("brand_id")
_FORGET = Statement(delete(one_time_tokens).where(_IN_BRAND, _T.user_id == bindparam("user_id")))
_FORGET_FOR = Statement(
    delete(one_time_tokens).where(_IN_BRAND, _T.user_id == bindparam("user_id"), any_of(_T.purpose, "purposes"))
)
# Where a mailbox was proved, what was sent to that very mailbox stays good; what proves an address is not needed again.
_STAYS = and_(_T.email_canonical == bindparam("canonical"), any_of(_T.purpose, "kept"))
_FORGET_OTHERS = Statement(delete(one_time_tokens).where(_IN_BRAND, _T.user_id == bindparam("user_id"), ~_STAYS))
_FORGET_RIVALS = Statement(
    delete(one_time_tokens).where(
        _IN_BRAND, _T.email_skeleton == bindparam("skeleton"), _T.user_id != bindparam("user_id")
    )
)
_RUN_OUT = (
    select(_T.digest).where(_T.expires_at < bindparam("before")).order_by(_T.expires_at).limit(bindparam("limit"))
)
_SWEEP = Statement(
    delete(one_time_tokens).where(_T.digest.in_(_RUN_OUT)), unbranded="the sweep removes what is over in every brand"
)


def _token(row: Row) -> OneTimeToken:
    return OneTimeToken(row[0], row[1], TokenPurpose(row[2]), *row[3:8])


async def issue(
    tx: Tx,
    brand_id: str,
    user_id: str,
    purpose: TokenPurpose,
    address: EmailAddress,
    digest: bytes,
    now: datetime,
    expires_at: datetime,
    *,
    is_allowed: bool,
) -> bool:
    """Adds a token in the place of the user's older one for that purpose; whether it did, which it does if allowed.

    :raises Contention: when the user is deleted at this moment.
    """
    with pointing_at_what_was_there():
        row = await tx.find(
            _ISSUE,
            brand_id=brand_id,
            user_id=user_id,
            purpose=purpose.value,
            email=address.display,
            email_canonical=address.canonical,
            email_skeleton=address.skeleton,
            digest=digest,
            created_at=now,
            expires_at=expires_at,
            is_allowed=is_allowed,
        )
    return row is not None


async def issue_to_login(
    tx: Tx,
    brand_id: str,
    canonical: str,
    purpose: TokenPurpose,
    digest: bytes,
    now: datetime,
    expires_at: datetime,
) -> OneTimeToken | None:
    """The same for the user who logs in with the address; None when there is none or they are disabled."""
    with pointing_at_what_was_there():
        row = await tx.find(
            _ISSUE_TO_LOGIN,
            brand_id=brand_id,
            canonical=canonical,
            purpose=purpose.value,
            digest=digest,
            created_at=now,
            expires_at=expires_at,
        )
    return None if row is None else _token(row)


async def find_token(tx: Tx, digest: bytes, now: datetime) -> tuple[OneTimeToken, ActiveBrand] | None:
    """The token and its brand, if it is good at this moment; nothing is consumed."""
    row = await tx.find(_FIND, digest=digest, now=now)
    return None if row is None else (_token(row[: len(_SHOWN)]), active_brand(row[len(_SHOWN) :]))


async def is_good(tx: Tx, digest: bytes, now: datetime) -> bool:
    """Whether there is such a token, neither used nor run out; whatever has become of its user and its brand."""
    return await tx.find(_LOOK, digest=digest, now=now) is not None


async def consume(tx: Tx, brand_id: str, digest: bytes, now: datetime) -> OneTimeToken | None:
    """Uses the token up; None unless it was good until now. One caller alone gets it.

    Locks its user first: so do all who change a user and kill their tokens after it, and nobody waits for one another.
    A token that proves an address locks those who claim the same one, too: their claims are about to die.
    """
    proving = [TokenPurpose.verify.value, TokenPurpose.claim.value]
    await tx.list(_LOCK_USERS, brand_id=brand_id, digest=digest, proving=proving)
    row = await tx.find(_CONSUME, brand_id=brand_id, digest=digest, now=now)
    return None if row is None else _token(row)


async def forget(tx: Tx, brand_id: str, user_id: str, purposes: Sequence[TokenPurpose] | None = None) -> None:
    """Kills the user's tokens: those for ``purposes``, or all."""
    if purposes is None:
        await tx.execute(_FORGET, brand_id=brand_id, user_id=user_id)
    else:
        names = [purpose.value for purpose in purposes]
        await tx.execute(_FORGET_FOR, brand_id=brand_id, user_id=user_id, purposes=names)


async def forget_others(tx: Tx, brand_id: str, user_id: str, canonical: str) -> None:
    """Kills the user's tokens, but for those that log in with this address or reset its password."""
    kept = [TokenPurpose.login.value, TokenPurpose.handed_over.value, TokenPurpose.reset.value]
    await tx.execute(_FORGET_OTHERS, brand_id=brand_id, user_id=user_id, canonical=canonical, kept=kept)


async def forget_rivals(tx: Tx, brand_id: str, user_id: str, skeleton: str) -> None:
    """Kills everybody else's tokens for this address and those that look the same."""
    await tx.execute(_FORGET_RIVALS, brand_id=brand_id, user_id=user_id, skeleton=skeleton)


async def sweep(tx: Tx, before: datetime, limit: int) -> int:
    """Removes up to ``limit`` tokens of every brand that ran out before ``before``; how many."""
    return await tx.execute(_SWEEP, before=before, limit=limit)
