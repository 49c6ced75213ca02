"""Exchange a refresh token for the next pair, or for an access token of a standing session. Contract §2, §3."""

from __future__ import annotations

from dataclasses import dataclass, field

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication import store
from keystead.authentication.authenticate import expected_brand_id
from keystead.authentication.notifications import notice_context, notify_reuse
from keystead.context import Context
from keystead.crypto import secrets
from keystead.crypto.secrets import Secret, SecretKind
from keystead.db.interface import Tx
from keystead.errors import (
    BadUserInput,
    Forbidden,
    RefreshTokenExpired,
    RefreshTokenInvalid,
    RefreshTokenReused,
)
from keystead.installation import keyring_updates
from keystead.policy import (
    LONGEST_ACCESS_TTL,
    SHORTEST_ACCESS_TTL,
    STANDING_ACCESS_TTL,
    BrandPolicy,
    SessionKind,
)
from keystead.sessions import access_tokens
from keystead.sessions import service as sessions
from keystead.sessions.model import Expired, KindOff, Reused, Rotated, Unknown, Verdict
from keystead.sessions.refresh_token_store import find_presented
from keystead.sessions.rotation import Judgement, RotationKeys, judge_standing, rotate
from keystead.users import email_change


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token and the refresh token of a pair session."""

    auth_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


async def refresh_pair(ctx: Context, raw: str) -> TokenPair:
    """Rotate the refresh token; return the session's current one and a new access token.

    :raises RefreshTokenInvalid: unknown, of another kind or brand, or its session has ended.
    :raises RefreshTokenExpired: when it has expired.
    :raises RefreshTokenReused: when it was rotated before; the session was ended, and its owner gets a notice.
    :raises Forbidden: when the brand no longer allows pair sessions.
    """
    secret = _parse(raw)
    now, keys, expected = ctx.now(), RotationKeys.of(ctx.server), expected_brand_id(ctx)

    async def decide(tx: Tx) -> Verdict:
        verdict = await rotate(tx, expected, secret, keys, now)
        event = _event(ctx, verdict)
        if event is not None:
            await audit.record(tx, event)
        if isinstance(verdict, Reused) and verdict.is_first:
            await email_change.cancel_of_session(tx, verdict.brand_id, verdict.user_id, verdict.session_id)
            owner = await store.find_session_owner(tx, verdict.brand_id, verdict.session_id)
            if owner is not None:
                await notify_reuse(tx, notice_context(ctx, owner.brand), owner)
        return verdict

    # Raised after the commit: an exception inside would roll back the revocation that it reports.
    verdict = await ctx.db.run(decide)
    match verdict:
        case Unknown():
            raise RefreshTokenInvalid
        case Expired():
            raise RefreshTokenExpired
        case Reused():
            raise RefreshTokenReused
        case KindOff():
            raise Forbidden(feature=SessionKind.pair.value)
    if not access_tokens.has_time_left(verdict.expires_at, now):
        raise RefreshTokenExpired
    await keyring_updates.sign_with(ctx.server, verdict.keyring_version)
    auth_token = access_tokens.issue(
        ctx.server,
        verdict.brand_id,
        verdict.user_id,
        verdict.session_id,
        verdict.policy.access_ttl,
        now,
        not_after=verdict.expires_at,
    )
    return TokenPair(auth_token, verdict.refresh_token.reveal())


async def get_access_token(ctx: Context, raw: str, expires_in: int | None) -> str:
    """Issue an access token of a standing session. The refresh token is not rotated.

    ``expires_in`` is in seconds, 30 to the brand's ``access_ttl``; None means 900, or the brand's where that is less.

    :raises BadUserInput: when it is out of range; names ``expiresIn``.
    :raises RefreshTokenInvalid: unknown, of another kind or brand, or its session has ended.
    :raises RefreshTokenExpired: when it has expired, where the brand sets a lifetime.
    :raises Forbidden: when the brand no longer allows standing sessions.
    """
    secret = _parse(raw)
    now = ctx.now()
    token = await find_presented(ctx.db.reads, secret.digest(), expected_brand_id(ctx))
    if token is None:
        raise RefreshTokenInvalid
    match judge_standing(token, now, token.policy):
        case Judgement.kind_off:
            raise Forbidden(feature=SessionKind.standing.value)
        case Judgement.expired:
            raise RefreshTokenExpired
        case Judgement.usable:
            pass
        case _:
            raise RefreshTokenInvalid
    lifetime, end = _lifetime(expires_in, token.policy), token.standing_expiry(token.policy)
    if not access_tokens.has_time_left(end, now):
        raise RefreshTokenExpired
    sessions.note_use(ctx.server, token.brand_id, token.session_id, token.used_at, now)
    await keyring_updates.sign_with(ctx.server, token.keyring_version)
    return access_tokens.issue(
        ctx.server, token.brand_id, token.user_id, token.session_id, lifetime, now, not_after=end
    )


def _parse(raw: str) -> Secret:
    secret = secrets.parse(raw, SecretKind.refresh)
    if secret is None:
        raise RefreshTokenInvalid(cause="not the format of a refresh token")
    return secret


def _lifetime(expires_in: int | None, policy: BrandPolicy) -> int:
    longest = min(policy.access_ttl, LONGEST_ACCESS_TTL)
    if expires_in is None:
        return min(STANDING_ACCESS_TTL, longest)
    if not SHORTEST_ACCESS_TTL <= expires_in <= longest:
        raise BadUserInput(
            f"'expiresIn' must be between {SHORTEST_ACCESS_TTL} and {longest} seconds.", field="expiresIn"
        )
    return expires_in


def _event(ctx: Context, verdict: Verdict) -> AuditEvent | None:
    match verdict:
        case Rotated():
            name = "session.refreshed"
        case Reused():
            name = "session.reuse_detected"
        case _:
            return None
    return audit.describe(
        ctx,
        name,
        brand_id=verdict.brand_id,
        outcome="refused" if isinstance(verdict, Reused) else "success",
        subject_id=verdict.user_id,
        session_id=verdict.session_id,
    )
