"""A new user who needs to give nothing: ``createMe`` of the standing contract. Contract §3."""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.authentication.brand_choice import choose
from keystead.context import Anonymous, Context
from keystead.db.interface import Tx
from keystead.errors import KeyRefused, Unauthenticated
from keystead.policy import SessionKind, require_feature, require_kind
from keystead.sessions import service as sessions
from keystead.sessions.model import Opened
from keystead.users import service as users


async def create_me(ctx: Context, brand_argument: str | None) -> str:
    """A refresh token of a new anonymous user; it stands until it is invalidated.

    :raises Unauthenticated: without a credential of the brand.
    :raises BrandMismatch: when the argument names another brand.
    :raises Forbidden: when the brand has no anonymous users or no standing sessions; names the feature.
    :raises KeyRefused: when the brand has been disabled since the credential was read.
    """
    if isinstance(ctx.principal, Anonymous):
        raise Unauthenticated("This needs a brand token.")
    brand = await choose(ctx, brand_argument)
    require_kind(brand.preset, SessionKind.standing)
    require_feature(brand.features, "anonymous_users")
    now, keys, opened_from = ctx.now(), sessions.RotationKeys.of(ctx.server), sessions.device(ctx.request)

    async def sign_up(tx: Tx) -> Opened:
        user_id = await users.create_anonymous(tx, brand.id, now)
        opened = await sessions.open_session(
            tx, brand, user_id, SessionKind.standing, opened_from, keys, now, password_hash=None
        )
        if opened is None:
            # Raised in here on purpose: nothing may stay of a user who never got in.
            raise KeyRefused(cause="the brand was disabled while a user was made in it")
        event = audit.describe(
            ctx, "user.signed_up", brand_id=brand.id, subject_id=user_id, session_id=opened.session_id
        )
        await audit.record(tx, event)
        return opened

    return (await ctx.db.run(sign_up)).refresh_token.reveal()
