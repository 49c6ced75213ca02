"""SQL of refresh tokens. Their table stands with that of the sessions that own them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import and_, bindparam, func, or_, select, update

from keystead.db.interface import Tx
from keystead.db.statements import Statement, insert
from keystead.db.types import Id, UtcTime
from keystead.installation.store import CURRENT_KEYRING_VERSION
from keystead.policy import Preset, SessionKind, parse_policy
from keystead.sessions.model import Link, PresentedToken, RotatedRow
from keystead.sessions.store import ALIVE, OF_ONE_PERSON_AND_BRAND, b, refresh_tokens, s, t

_BY_DIGEST = "the digest of 256 random bits names the row, and the row its brand"

_INSERT = Statement(
    insert(refresh_tokens).values(
        {column.name: bindparam(column.name) for column in refresh_tokens.c if column.name != "rotated_at"}
    )
)
_ALIVE_PAIR = (
    select(s.id)
    .select_from(OF_ONE_PERSON_AND_BRAND)
    .where(s.id == t.session_id, s.brand_id == t.brand_id, s.kind == SessionKind.pair.value, ALIVE)
    .where(b.preset != Preset.standing.value)
    .correlate(refresh_tokens)
    .exists()
)
_USER_ID = select(s.user_id).where(s.id == t.session_id, s.brand_id == t.brand_id).scalar_subquery()
_POLICY = select(b.policy).where(b.id == t.brand_id).scalar_subquery()
_expected = bindparam("expected_brand_id", type_=Id())
# Decides by itself. On PostgreSQL, whoever comes second waits for the row and then finds it rotated.
_ROTATE = Statement(
    update(refresh_tokens)
    .where(t.digest == bindparam("digest"), t.rotated_at.is_(None), t.expires_at > bindparam("at"))
    .where(or_(_expected.is_(None), t.brand_id == _expected), _ALIVE_PAIR)
    .values(rotated_at=bindparam("at"))
    .returning(t.brand_id, t.session_id, _USER_ID, t.generation, t.rotation_key_id, _POLICY, CURRENT_KEYRING_VERSION),
    unbranded=_BY_DIGEST,
)
_head = refresh_tokens.alias("head")
_HEAD_GENERATION = (
    select(func.max(_head.c.generation))
    .where(_head.c.session_id == t.session_id)
    .correlate(refresh_tokens)
    .scalar_subquery()
)
_FIND_PRESENTED = Statement(
    select(
        t.brand_id,
        t.session_id,
        s.user_id,
        s.kind,
        ALIVE.label("is_alive"),
        b.preset,
        b.policy,
        CURRENT_KEYRING_VERSION,
        t.generation,
        _HEAD_GENERATION,
        t.issued_at,
        t.expires_at,
        t.rotated_at,
        func.coalesce(s.last_used_at, s.created_at, type_=UtcTime()),
    )
    .select_from(refresh_tokens.join(OF_ONE_PERSON_AND_BRAND, and_(s.id == t.session_id, s.brand_id == t.brand_id)))
    .where(t.digest == bindparam("digest"))
    .where(or_(_expected.is_(None), t.brand_id == _expected)),
    unbranded=_BY_DIGEST,
)
_CHAIN = Statement(
    select(t.generation, t.rotation_key_id, t.digest, t.expires_at)
    .where(t.brand_id == bindparam("brand_id"), t.session_id == bindparam("session_id"))
    .where(t.generation.between(bindparam("first"), bindparam("last")))
    .order_by(t.generation)
)


async def insert_token(tx: Tx, brand_id: str, session_id: str, link: Link, issued_at: datetime) -> None:
    """Adds a refresh token to a session."""
    await tx.execute(
        _INSERT,
        brand_id=brand_id,
        session_id=session_id,
        digest=link.digest,
        generation=link.generation,
        rotation_key_id=link.rotation_key_id,
        issued_at=issued_at,
        expires_at=link.expires_at,
    )


async def rotate_token(tx: Tx, digest: bytes, expected_brand_id: str | None, at: datetime) -> RotatedRow | None:
    """Marks the token as rotated if it is current, in time, and of a session of the pair contract that is alive.

    ``expected_brand_id`` is the brand that the rest of the request speaks for; None: the token alone decides.
    """
    row = await tx.find(_ROTATE, digest=digest, expected_brand_id=expected_brand_id, at=at)
    if row is None:
        return None
    brand_id, session_id, user_id, generation, rotation_key_id, policy, keyring_version = row
    return RotatedRow(
        brand_id, session_id, user_id, generation, rotation_key_id, parse_policy(policy), int(keyring_version)
    )


async def find_presented(tx: Tx, digest: bytes, expected_brand_id: str | None) -> PresentedToken | None:
    """What is known of a token; None when there is none of that digest in the expected brand."""
    row = await tx.find(_FIND_PRESENTED, digest=digest, expected_brand_id=expected_brand_id)
    if row is None:
        return None
    brand_id, session_id, user_id, kind, is_alive, preset, policy, keyring_version, *rest = row
    return PresentedToken(
        brand_id,
        session_id,
        user_id,
        SessionKind(kind),
        is_alive,
        Preset(preset),
        parse_policy(policy),
        int(keyring_version),
        *rest,
    )


async def list_chain(tx: Tx, brand_id: str, session_id: str, first: int, last: int) -> list[Link]:
    """The tokens of a session from one generation to another, both included, in order."""
    rows = await tx.list(_CHAIN, brand_id=brand_id, session_id=session_id, first=first, last=last)
    return [Link(*row) for row in rows]
