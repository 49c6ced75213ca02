"""Log in by a mailed link: request it for any address, redeem it once (magic link). Contract §3.

find the token (nothing is consumed)  →  one transaction: consume it, verify the address where that is open, session,
refresh token, audit  →  sign after the commit
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keystead.audit import service as audit
from keystead.authentication.email_verification import verification_event, verify_address, verify_login_address
from keystead.authentication.link_requests import request_link
from keystead.authentication.links import Link, find_link
from keystead.authentication.login import first_access_token, session_events
from keystead.authentication.notifications import mail_context
from keystead.context import ActiveBrand, Context
from keystead.crypto import secrets
from keystead.crypto.secrets import Secret, SecretKind
from keystead.db.interface import Tx
from keystead.errors import TokenInvalid
from keystead.mail.model import MailKind
from keystead.policy import SessionKind, allows, require_feature, require_kind
from keystead.sessions import service as sessions
from keystead.sessions.model import Opened
from keystead.sessions.rotation import RotationKeys
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose

_FEATURE = "magic_login"


@dataclass(frozen=True, slots=True)
class MagicLogin:
    """A session opened by a link."""

    refresh_token: str = field(repr=False)
    auth_token: str | None = field(repr=False)
    """An access token, for a pair session."""
    kind: SessionKind


async def request_magic_link(ctx: Context, brand: ActiveBrand, email: str) -> None:
    """Request a link that logs in; it is mailed if the address is a login of the brand, which the caller never learns.

    :raises Forbidden: when the brand has no magic login.
    :raises BadUserInput: for text that is no address; names ``email``.
    """
    require_feature(brand.features, _FEATURE)
    await request_link(ctx, brand, email, MailKind.magic_login)


async def redeem(ctx: Context, secret: Secret | None, kind: SessionKind | None) -> MagicLogin:
    """Open a session for the user whom the link was mailed to, and consume the token.

    ``kind`` None means a pair session where the brand has them, else a standing one.

    :raises Forbidden: when the brand has no magic login, or no sessions of this kind; the token stays valid.
    :raises TokenInvalid: for an invalid token, also when a concurrent request consumes it first.
    """
    link = await find_link(ctx, secret, SecretKind.magic, _FEATURE)
    wanted = kind or (SessionKind.pair if allows(link.brand.preset, SessionKind.pair) else SessionKind.standing)
    require_kind(link.brand.preset, wanted)
    opened = await _open(ctx, link, wanted)
    if opened is None:
        raise TokenInvalid(cause="used or replaced concurrently")
    auth_token = await first_access_token(ctx, link.brand, opened) if wanted is SessionKind.pair else None
    return MagicLogin(opened.refresh_token.reveal(), auth_token, wanted)


async def hand_over(ctx: Context, secret: Secret | None) -> Secret:
    """Exchange a mailed token for a new one, valid for two minutes, which the brand's app redeems.

    For the hosted page: the click verifies a pending address, whether or not the new token is redeemed. Raises as
    :func:`redeem` does, and :class:`TokenInvalid` for a token of an exchange, which stays valid: repeated exchanges
    would extend it without limit.
    """
    link = await find_link(ctx, secret, SecretKind.magic, _FEATURE)
    if link.token.purpose is TokenPurpose.handed_over:
        raise TokenInvalid(cause="was handed over already, for an app to redeem")
    event = audit.describe(
        ctx,
        "magic_link.handed_over",
        brand_id=link.token.brand_id,
        subject_id=link.token.user_id,
        details={"purpose": link.token.purpose.value},
    )
    mails = await mail_context(ctx, link.brand)
    fresh = secrets.generate(SecretKind.magic)

    async def exchange(tx: Tx) -> bool:
        token = await tokens.consume(tx, link.brand.id, link.secret, mails.now)
        if token is None:
            return False
        if token.purpose is TokenPurpose.claim:
            if await verify_address(tx, mails, token, verification_event(ctx, token)) is None:
                return False
        else:
            await mails.note_answered(tx, token.email_canonical)
        purpose = TokenPurpose.handed_over
        await tokens.issue(tx, token.brand_id, token.user_id, purpose, token.address, fresh, mails.now)
        await audit.record(tx, event)
        return True

    if not await ctx.db.run(exchange):
        raise TokenInvalid(cause="used or replaced concurrently")
    return fresh


async def _open(ctx: Context, link: Link, kind: SessionKind) -> Opened | None:
    """None when the token was consumed concurrently, or its address is no longer, or cannot become, the user's."""
    brand, mails = link.brand, await mail_context(ctx, link.brand)
    now, keys, opened_from = mails.now, RotationKeys.of(ctx.server), sessions.device(ctx.request)

    async def log_in(tx: Tx) -> Opened | None:
        token = await tokens.consume(tx, brand.id, link.secret, now)
        if token is None:
            return None
        verify = verify_address if token.purpose is TokenPurpose.claim else verify_login_address
        if await verify(tx, mails, token, verification_event(ctx, token)) is None:
            return None
        # After the verification: where that ended all sessions, this one starts with the new epoch.
        opened = await sessions.open_session(tx, brand, token.user_id, kind, opened_from, keys, now, password_hash=None)
        if opened is not None:
            for event in session_events(ctx, opened, kind, method="magic"):
                await audit.record(tx, event)
        return opened

    return await ctx.db.run(log_in)
