"""What a mailed link would do: for the page that says so before anybody clicks. Nothing is consumed.

A stranger may have put the reader's address into an account of their own. So the page tells which account, since when,
who claimed the address and from where, and whether a password comes with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keystead.authentication.brand_choice import expected_brand_id
from keystead.authentication.claiming import store
from keystead.authentication.claiming.store import AddressStanding
from keystead.brands import service as brands
from keystead.brands.model import Brand
from keystead.context import Context
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.sessions.model import Device
from keystead.users.one_time_tokens import service as tokens
from keystead.users.one_time_tokens.model import OneTimeToken, TokenPurpose


@dataclass(frozen=True, slots=True)
class OpenLink:
    """A link that is good at this moment."""

    token: OneTimeToken
    brand: Brand
    current_address: str | None
    """The user's login address, which may be the one that the link was sent to; None: they have none yet."""
    user_created_at: datetime
    claimed_at: datetime | None
    """When the address was claimed; None where it is the login already."""
    claimed_from: Device | None
    """The session that claimed it; None where an administrator did, and where nothing is claimed."""
    sets_password: bool
    """Whether a password that was chosen with the claim becomes the user's."""
    ends_all_sessions: bool
    """Whether every session of the user ends; else the one that claimed the address goes on."""


async def look_at(ctx: Context, raw: str, kind: SecretKind) -> OpenLink | None:
    """What the link with this token would do; None when it would be refused."""
    secret = secrets.parse(raw, kind)
    found = None if secret is None else await tokens.find(ctx.db.reads, secret, ctx.now())
    if found is None or expected_brand_id(ctx) not in (None, found[0].brand_id):
        return None
    token, brand = found[0], await brands.get_brand(ctx, found[0].brand_id)
    standing = await store.find_standing(
        ctx.db.reads, brand.id, token.user_id, token.email_canonical, token.email_skeleton
    )
    if standing is None or standing.is_taken:
        return None
    if token.purpose in (TokenPurpose.login, TokenPurpose.reset):
        return _to_come_in(token, brand, standing) if standing.is_login else None
    can_be_proved = standing.is_claim or (standing.is_login and not standing.is_proved)
    return _to_prove(token, brand, standing) if can_be_proved else None


def _to_come_in(token: OneTimeToken, brand: Brand, standing: AddressStanding) -> OpenLink:
    return OpenLink(
        token,
        brand,
        current_address=standing.login,
        user_created_at=standing.user_created_at,
        claimed_at=None,
        claimed_from=None,
        sets_password=False,
        ends_all_sessions=token.purpose is TokenPurpose.reset or not standing.is_proved,
    )


def _to_prove(token: OneTimeToken, brand: Brand, standing: AddressStanding) -> OpenLink:
    was_granted = standing.is_login and not standing.is_proved
    is_by_session = standing.is_claim and standing.claimed_by_session
    return OpenLink(
        token,
        brand,
        current_address=standing.login,
        user_created_at=standing.user_created_at,
        claimed_at=standing.claimed_at if standing.is_claim else None,
        claimed_from=standing.claimed_from if is_by_session else None,
        sets_password=standing.is_claim and standing.sets_password and not was_granted,
        ends_all_sessions=was_granted or not is_by_session,
    )
