"""SQL of one-time tokens: issue, find and consume the tokens that mailed links carry. Security §13.

A token is bound to its purpose, its user, an address and a brand. A user has at most one per purpose, the newest; it
replaces none of another purpose, since strangers can request links to log in and must not invalidate the link that the
owner is about to use. One conditional UPDATE consumes it, so of concurrent callers only one succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, ForeignKey, Index, Table, and_, bindparam, delete, select, union_all, update
from sqlalchemy.dialects.postgresql import Insert

from keystead.brands.model import active_brand
from keystead.brands.store import BRAND_COLUMNS, IS_ACTIVE, brands
from keystead.context import ActiveBrand
from keystead.crypto.secrets import Secret
from keystead.db.interface import Row, Tx, retry_when_deleted
from keystead.db.statements import Statement, any_of, insert
from keystead.db.types import Boolean, Digest, Id, Text, UtcTime, metadata
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens.model import KINDS, VERIFYING, OneTimeToken, TokenPurpose, lifetime_end
from keystead.users.store import users

one_time_tokens = Table(
    "one_time_tokens",
    metadata,
    # One row per purpose: a new token replaces the older one. Not per kind of secret: a request for a link to log in
    # would replace the link of an e-mail change, and the token that an app waits for.
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("brand_id", Id, ForeignKey("brands.id"), nullable=False),
    Column("digest", Digest, nullable=False, unique=True),
    # The address that it was sent to, in its three forms: it verifies no other.
    Column("email", Text, nullable=False),
    Column("email_canonical", Text, nullable=False),
    Column("email_skeleton", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("consumed_at", UtcTime),
    # The brand last: a planner would use an index that begins with it for one user's tokens, and read the whole brand.
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
    """The statement as an upsert: the new token replaces the user's older one for that purpose."""
    changed = {name: statement.excluded[name] for name in _REPLACED} | {"consumed_at": None}
    return Statement(
        statement.on_conflict_do_update(
            index_elements=["user_id", "purpose"], set_=changed, where=_T.brand_id == bindparam("brand_id")
        ).returning(*_SHOWN)
    )


# What is not allowed adds no row and takes the same time.
_TO_ONE = select(*_given.values()).where(
    _U.brand_id == _given["brand_id"],
    _U.id == _given["user_id"],
    bindparam("is_allowed", type_=Boolean()).is_(True),
)
_ISSUE = _replacing(insert(one_time_tokens).from_select([*_NEW, *_TIMES], _TO_ONE))
_ISSUE_TO_LOGIN = _replacing(insert(one_time_tokens).from_select([*_NEW, *_TIMES], _LOGIN))

# Neither used nor expired. To be usable, its user and brand have to be active, too.
_IS_VALID = and_(_T.digest == bindparam("digest"), _T.consumed_at.is_(None), _T.expires_at > bindparam("now"))
_USER_IS_ACTIVE = (
    select(_U.id)
    .join(brands, brands.c.id == _U.brand_id)
    .where(_U.id == _T.user_id, _U.brand_id == _T.brand_id, _U.is_disabled.is_(False), IS_ACTIVE)
    .correlate(one_time_tokens)
    .exists()
)
_FIND = Statement(
    select(*_SHOWN, *BRAND_COLUMNS)
    .join_from(one_time_tokens, brands, brands.c.id == _T.brand_id)
    .where(_IS_VALID, IS_ACTIVE, _USER_IS_ACTIVE),
    unbranded="the digest of the token names the brand",
)
_FIND_VALID = Statement(select(_T.digest).where(_IS_VALID), unbranded="the digest of the token names the brand")
_OWN = (_T.brand_id == bindparam("brand_id"), _IS_VALID, _USER_IS_ACTIVE)
_PRESENTED = (_T.brand_id == bindparam("brand_id"), _T.digest == bindparam("digest"))
_COMPETING = users.alias("competing")
# The token's user and, where it verifies an address, all users with a pending change to it: locked in one order, so
# that concurrent verifications wait for each other instead of deadlocking.
_OWNER_ID = select(_T.user_id).where(*_PRESENTED)
_COMPETING_IDS = select(_COMPETING.c.id).where(
    *_PRESENTED,
    any_of(_T.purpose, "verifying"),
    _COMPETING.c.brand_id == _T.brand_id,
    _COMPETING.c.pending_email_skeleton == _T.email_skeleton,
)
_LOCK_USERS = Statement(
    select(_U.id)
    .where(_U.brand_id == bindparam("brand_id"), _U.id.in_(union_all(_OWNER_ID, _COMPETING_IDS)))
    .order_by(_U.id)
    .with_for_update(key_share=True, of=users)
)
_CONSUME = Statement(update(one_time_tokens).where(*_OWN).values(consumed_at=bindparam("now")).returning(*_SHOWN))
_IN_BRAND = _T.brand_id == bindparam("brand_id")
_DELETE = Statement(delete(one_time_tokens).where(_IN_BRAND, _T.user_id == bindparam("user_id")))
_DELETE_FOR = Statement(
    delete(one_time_tokens).where(_IN_BRAND, _T.user_id == bindparam("user_id"), any_of(_T.purpose, "purposes"))
)
# What was sent to the mailbox that was verified stays valid, but for what verifies an address.
_IS_RELATED = and_(_T.email_canonical == bindparam("canonical"), any_of(_T.purpose, "kept"))
_DELETE_UNRELATED = Statement(
    delete(one_time_tokens).where(_IN_BRAND, _T.user_id == bindparam("user_id"), ~_IS_RELATED)
)
_DELETE_COMPETING = Statement(
    delete(one_time_tokens).where(
        _IN_BRAND, _T.email_skeleton == bindparam("skeleton"), _T.user_id != bindparam("user_id")
    )
)
_EXPIRED = (
    select(_T.digest).where(_T.expires_at < bindparam("before")).order_by(_T.expires_at).limit(bindparam("limit"))
)
_SWEEP = Statement(
    delete(one_time_tokens).where(_T.digest.in_(_EXPIRED)),
    unbranded="the sweep removes what has expired in every brand",
)


def _token(row: Row) -> OneTimeToken:
    return OneTimeToken(row[0], row[1], TokenPurpose(row[2]), *row[3:8])


async def issue(
    tx: Tx,
    brand_id: str,
    user_id: str,
    purpose: TokenPurpose,
    address: EmailAddress,
    secret: Secret,
    now: datetime,
    *,
    is_allowed: bool = True,
) -> bool:
    """Bind ``secret`` to the user and the address, in place of the user's older token for that purpose.

    False, and the older token stays valid, unless ``is_allowed`` and the user exists.

    :raises Contention: when the user is deleted concurrently.
    """
    _require_kind(secret, purpose)
    with retry_when_deleted():
        row = await tx.find(
            _ISSUE,
            brand_id=brand_id,
            user_id=user_id,
            purpose=purpose.value,
            email=address.display,
            email_canonical=address.canonical,
            email_skeleton=address.skeleton,
            digest=secret.digest(),
            created_at=now,
            expires_at=lifetime_end(purpose, now),
            is_allowed=is_allowed,
        )
    return row is not None


async def issue_to_login(
    tx: Tx, brand_id: str, canonical: str, purpose: TokenPurpose, secret: Secret, now: datetime
) -> OneTimeToken | None:
    """The same for the user who logs in with the address; the token carries the address as it is stored.

    None when there is no such user, or they are disabled.
    """
    _require_kind(secret, purpose)
    with retry_when_deleted():
        row = await tx.find(
            _ISSUE_TO_LOGIN,
            brand_id=brand_id,
            canonical=canonical,
            purpose=purpose.value,
            digest=secret.digest(),
            created_at=now,
            expires_at=lifetime_end(purpose, now),
        )
    return None if row is None else _token(row)


async def find(tx: Tx, secret: Secret, now: datetime) -> tuple[OneTimeToken, ActiveBrand] | None:
    """The token and its brand if the token is valid; it is not consumed."""
    row = await tx.find(_FIND, digest=secret.digest(), now=now)
    return None if row is None else (_token(row[: len(_SHOWN)]), active_brand(row[len(_SHOWN) :]))


async def is_valid(tx: Tx, secret: Secret, now: datetime) -> bool:
    """Return whether the token exists and is neither used nor expired; its user or brand may be disabled."""
    return await tx.find(_FIND_VALID, digest=secret.digest(), now=now) is not None


async def consume(tx: Tx, brand_id: str, secret: Secret, now: datetime) -> OneTimeToken | None:
    """Use the token up; None unless it was valid and of this brand. Of concurrent callers only one gets it.

    Locks the token's user first, as every change of a user does before it deletes tokens: that rules out deadlocks. A
    token that verifies an address also locks the users with competing changes, which are about to be invalidated.
    """
    digest = secret.digest()
    await tx.list(_LOCK_USERS, brand_id=brand_id, digest=digest, verifying=[purpose.value for purpose in VERIFYING])
    row = await tx.find(_CONSUME, brand_id=brand_id, digest=digest, now=now)
    return None if row is None else _token(row)


async def delete_tokens(tx: Tx, brand_id: str, user_id: str, purposes: Sequence[TokenPurpose] | None = None) -> None:
    """Delete the user's tokens for ``purposes``; None: for all."""
    if purposes is None:
        await tx.execute(_DELETE, brand_id=brand_id, user_id=user_id)
    else:
        names = [purpose.value for purpose in purposes]
        await tx.execute(_DELETE_FOR, brand_id=brand_id, user_id=user_id, purposes=names)


async def delete_unrelated(tx: Tx, brand_id: str, user_id: str, canonical: str) -> None:
    """Delete the user's tokens, but for those that log in with this address or reset its password."""
    kept = [TokenPurpose.login.value, TokenPurpose.handed_over.value, TokenPurpose.reset.value]
    await tx.execute(_DELETE_UNRELATED, brand_id=brand_id, user_id=user_id, canonical=canonical, kept=kept)


async def delete_competing(tx: Tx, brand_id: str, user_id: str, skeleton: str) -> None:
    """Delete other users' tokens for this address and its look-alikes."""
    await tx.execute(_DELETE_COMPETING, brand_id=brand_id, user_id=user_id, skeleton=skeleton)


async def sweep(tx: Tx, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` tokens of every brand that expired before ``before``; return how many."""
    return await tx.execute(_SWEEP, before=before, limit=limit)


def _require_kind(secret: Secret, purpose: TokenPurpose) -> None:
    if secret.kind is not KINDS[purpose]:
        raise ValueError(f"a token to {purpose} is no {secret.kind.name} secret")
