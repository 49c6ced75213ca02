"""Links that log in: asked for by anybody, mailed to the owner of the address, redeemed once. Contract §3.

find the token (nothing is consumed)  →  one transaction: the token is used up, the address proved where that is
open, session, refresh token, audit  →  sign after the commit
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication import opening, proof
from keystead.authentication.correspondence import open_correspondence
from keystead.authentication.link_tokens import Presented, find_presented
from keystead.authentication.mail_requests import ask_for_link
from keystead.context import ActiveBrand, Context
from keystead.crypto import secrets
from keystead.crypto.secrets import Secret, SecretKind
from keystead.db.interface import Tx
from keystead.errors import TokenInvalid
from keystead.mail.model import MailKind
from keystead.policy import SessionKind, allows, require_feature, require_kind
from keystead.sessions import service as sessions
from keystead.sessions.model import Opened
from keystead.users.one_time_tokens import service as one_time_tokens
from keystead.users.one_time_tokens.model import OneTimeToken, TokenPurpose

_FEATURE = "magic_login"


@dataclass(frozen=True, slots=True)
class MagicLogin:
    """A session opened by a link."""

    refresh_token: str = field(repr=False)
    auth_token: str | None = field(repr=False)
    """An access token, for a session of the pair contract."""
    kind: SessionKind


async def request(ctx: Context, brand: ActiveBrand, email: str) -> None:
    """Asks for a link that logs in; it is mailed if the address is a login of the brand, which the caller never learns.

    :raises Forbidden: when the brand has no magic login.
    :raises BadUserInput: for text that is no address; names ``email``.
    """
    require_feature(brand.features, _FEATURE)
    await ask_for_link(ctx, brand, email, MailKind.magic_login)


async def redeem(ctx: Context, raw: str, kind: SessionKind | None) -> MagicLogin:
    """Opens a session for the user whom the link was mailed to, and uses the link up.

    ``kind`` None means a pair session where the brand has them, else a standing one.

    :raises Forbidden: when the brand has no magic login, or no sessions of this kind; the token stays good.
    :raises TokenInvalid: for every other token than a good one of the brand; whoever comes second with it, too.
    """
    presented = await find_presented(ctx, raw, SecretKind.magic, _FEATURE)
    brand = presented.brand
    wanted = kind or (SessionKind.pair if allows(brand.preset, SessionKind.pair) else SessionKind.standing)
    require_kind(brand.preset, wanted)
    opened = await _open(ctx, presented, wanted)
    if opened is None:
        raise TokenInvalid(cause="used or overtaken a moment ago")
    auth_token = await opening.first_access_token(ctx, brand, opened) if wanted is SessionKind.pair else None
    return MagicLogin(opened.refresh_token.reveal(), auth_token, wanted)


async def hand_over(ctx: Context, raw: str) -> Secret:
    """Uses a mailed link up for a fresh token, good for two minutes, which the brand's app redeems.

    For the hosted page: a claim is proved by the click, whatever becomes of the fresh token. Raises as :func:`redeem`
    does, and :class:`TokenInvalid` for a fresh token, which stays good: exchanged again and again it would never end.
    """
    presented = await find_presented(ctx, raw, SecretKind.magic, _FEATURE)
    if presented.token.purpose is TokenPurpose.handed_over:
        raise TokenInvalid(cause="handed over once already: for an app alone")
    event = _handed_over(ctx, presented.token)
    correspondence = await open_correspondence(ctx, presented.brand)
    fresh = secrets.generate(SecretKind.magic)

    async def exchange(tx: Tx) -> bool:
        token = await one_time_tokens.consume(tx, presented.brand.id, presented.secret, correspondence.now)
        if token is None:
            return False
        if token.purpose is TokenPurpose.claim:
            if await proof.prove(tx, correspondence, token, proof.describe_proof(ctx, token)) is None:
                return False
        else:
            await correspondence.note_answered(tx, token.email_canonical)
        await one_time_tokens.hand_over(tx, token, fresh, correspondence.now)
        await audit.record(tx, event)
        return True

    if not await ctx.db.run(exchange):
        raise TokenInvalid(cause="used or overtaken a moment ago")
    return fresh


def _handed_over(ctx: Context, token: OneTimeToken) -> AuditEvent:
    details = {"purpose": token.purpose.value}
    return audit.describe(
        ctx, "magic_link.handed_over", brand_id=token.brand_id, subject_id=token.user_id, details=details
    )


async def _open(ctx: Context, presented: Presented, kind: SessionKind) -> Opened | None:
    """None when the token was used meanwhile, or its address is no longer (or cannot become) the user's."""
    brand, correspondence = presented.brand, await open_correspondence(ctx, presented.brand)
    now, keys, opened_from = correspondence.now, sessions.RotationKeys.of(ctx.server), sessions.device(ctx.request)

    async def log_in(tx: Tx) -> Opened | None:
        token = await one_time_tokens.consume(tx, brand.id, presented.secret, now)
        if token is None:
            return None
        prove = proof.prove if token.purpose is TokenPurpose.claim else proof.prove_login
        if await prove(tx, correspondence, token, proof.describe_proof(ctx, token)) is None:
            return None
        # After the proof: where that ended all sessions, this one begins with the new epoch.
        opened = await sessions.open_session(tx, brand, token.user_id, kind, opened_from, keys, now, password_hash=None)
        if opened is not None:
            for event in opening.events(ctx, opened, kind, method="magic"):
                await audit.record(tx, event)
        return opened

    return await ctx.db.run(log_in)
