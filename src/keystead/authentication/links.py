"""Find the one-time token of a mailed link, and preview what the link would do. Nothing is consumed. Security §13."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keystead.authentication.authenticate import default_brand, expected_brand_id
from keystead.authentication.store import AddressState, find_address_state
from keystead.brands import service as brands
from keystead.brands.model import Brand
from keystead.context import ActiveBrand, Context
from keystead.crypto.secrets import Secret, SecretKind
from keystead.errors import TokenInvalid
from keystead.policy import Features, require_feature
from keystead.sessions.model import Device
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import OneTimeToken, TokenPurpose


@dataclass(frozen=True, slots=True)
class Link:
    """A valid one-time token, and its brand."""

    secret: Secret
    token: OneTimeToken
    brand: ActiveBrand


@dataclass(frozen=True, slots=True)
class LinkPreview:
    """What a valid link would do.

    A stranger may have entered the reader's address in an account of their own. So the page shows which account it is,
    since when it exists, where the address was entered from, and whether a password comes with it.
    """

    token: OneTimeToken
    brand: Brand
    current_address: str | None
    """The user's login address, which may be the one that the link was sent to; None: they have none yet."""
    user_created_at: datetime
    requested_at: datetime | None
    """When the e-mail change was requested; None where the address is the login already."""
    requested_from: Device | None
    """The session that requested it; None where an administrator did, and where nothing is pending."""
    sets_password: bool
    """Whether a password that was chosen with the e-mail change becomes the user's."""
    ends_all_sessions: bool
    """Whether every session of the user ends; else the session that requested the change stays signed in."""


async def find_link(ctx: Context, secret: Secret | None, kind: SecretKind | None, *features: str) -> Link:
    """Find a valid token of this kind (None: of any), and its brand. ``secret`` is None for text in another format.

    :raises Forbidden: when one of ``features`` is off in that brand; for an invalid token, in the brand of the request.
        Names the feature.
    :raises TokenInvalid: when the token is unknown, used, expired, or of another brand than the request's credentials.
    """
    if secret is not None and kind not in (None, secret.kind):
        secret = None
    found = None if secret is None else await tokens.find(ctx.db.reads, secret, ctx.now())
    if secret is None or found is None:
        request_brand = (ctx.brand or await default_brand(ctx)) if features else None
        if request_brand is not None:
            _require(request_brand.features, features)
        raise TokenInvalid(cause="malformed" if secret is None else "unknown, used or expired")
    token, brand = found
    if expected_brand_id(ctx) not in (None, brand.id):
        raise TokenInvalid(cause="of another brand")
    _require(brand.features, features)
    return Link(secret, token, brand)


async def preview(ctx: Context, secret: Secret | None) -> LinkPreview:
    """Return what the link with this token would do.

    :raises TokenInvalid: when the token is invalid, or the link would be rejected because of the state of its user.
    """
    token = (await find_link(ctx, secret, None)).token
    brand = await brands.get_brand(ctx, token.brand_id)
    state = await find_address_state(ctx.db.reads, brand.id, token.user_id, token.email_canonical, token.email_skeleton)
    if state is None or state.is_taken:
        raise TokenInvalid(cause="the user is disabled, or the address is another user's login")
    if token.purpose in (TokenPurpose.login, TokenPurpose.reset):
        if state.is_login:
            return _preview_login(token, brand, state)
    elif state.is_pending or (state.is_login and not state.is_verified):
        return _preview_verification(token, brand, state)
    raise TokenInvalid(cause="the address is no longer the user's")


def _preview_login(token: OneTimeToken, brand: Brand, state: AddressState) -> LinkPreview:
    return LinkPreview(
        token,
        brand,
        current_address=state.login,
        user_created_at=state.user_created_at,
        requested_at=None,
        requested_from=None,
        sets_password=False,
        ends_all_sessions=token.purpose is TokenPurpose.reset or not state.is_verified,
    )


def _preview_verification(token: OneTimeToken, brand: Brand, state: AddressState) -> LinkPreview:
    was_unverified = state.is_login and not state.is_verified
    is_by_session = state.is_pending and state.requested_by_session
    return LinkPreview(
        token,
        brand,
        current_address=state.login,
        user_created_at=state.user_created_at,
        requested_at=state.requested_at if state.is_pending else None,
        requested_from=state.requested_from if is_by_session else None,
        sets_password=state.is_pending and state.sets_password and not was_unverified,
        ends_all_sessions=was_unverified or not is_by_session,
    )


def _require(features: Features, names: tuple[str, ...]) -> None:
    for name in names:
        require_feature(features, name)
