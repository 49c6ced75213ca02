"""Create users: an anonymous one with a standing session, or one with an e-mail address to verify. Contract §3."""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.authentication.authenticate import choose_brand
from keystead.authentication.link_requests import send_verification
from keystead.authentication.notifications import mail_context
from keystead.context import ActiveBrand, Anonymous, Context
from keystead.db.interface import Tx
from keystead.errors import KeyRefused, RateLimited, Unauthenticated
from keystead.policy import SessionKind, require_feature, require_kind
from keystead.sessions import service as sessions
from keystead.sessions.model import Opened
from keystead.sessions.rotation import RotationKeys
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import NewUser, User
from keystead.users.one_time_tokens.model import TokenPurpose


async def create_me(ctx: Context, brand_argument: str | None) -> str:
    """Create an anonymous user and return the refresh token of a standing session (``createMe``).

    :raises Unauthenticated: without a credential of the brand.
    :raises BrandMismatch: when the argument names another brand.
    :raises Forbidden: when the brand has no anonymous users or no standing sessions; names the feature.
    :raises KeyRefused: when the brand was disabled since the credential was read.
    """
    if isinstance(ctx.principal, Anonymous):
        raise Unauthenticated("This needs a brand token.")
    brand = await choose_brand(ctx, brand_argument)
    require_kind(brand.preset, SessionKind.standing)
    require_feature(brand.features, "anonymous_users")
    now, keys, opened_from = ctx.now(), RotationKeys.of(ctx.server), sessions.device(ctx.request)

    async def sign_up(tx: Tx) -> Opened:
        user_id = await users.create_anonymous(tx, brand.id, now)
        opened = await sessions.open_session(
            tx, brand, user_id, SessionKind.standing, opened_from, keys, now, password_hash=None
        )
        if opened is None:
            # Raised inside the transaction on purpose: it rolls the new user back.
            raise KeyRefused(cause="the brand was disabled while a user was created in it")
        event = audit.describe(
            ctx, "user.signed_up", brand_id=brand.id, subject_id=user_id, session_id=opened.session_id
        )
        await audit.record(tx, event)
        return opened

    return (await ctx.db.run(sign_up)).refresh_token.reveal()


async def create_user(ctx: Context, brand: ActiveBrand, new: NewUser) -> User:
    """Create a user as ``users.create_user`` does, and mail a verification link where the address needs one.

    :raises RateLimited: when the rate limit of mail to the address is reached (security §7). Then no user is created,
        since this link is the only way for its owner to use the account. And what ``users.create_user`` raises.
    """
    if new.is_verified or not brand.features.email_verification:
        return await users.create_user(ctx, brand, new)
    address = email_addresses.parse(new.email)
    device = sessions.device(ctx.request)
    mails = await mail_context(ctx, brand)

    async def mail(tx: Tx, user: User) -> None:
        sent = await send_verification(tx, mails, user.id, address, TokenPurpose.verify, device)
        if not sent.is_mailed:
            wait = await mails.seconds_until_allowed(tx, address.canonical)
            raise RateLimited(
                f"This address has been sent enough mail: try again in {wait} seconds, or vouch for the address"
                " (verified).",
                retry_after=wait,
            )

    return await users.create_user(ctx, brand, new, finish=mail)
