"""Log in with an e-mail address and a password, and open a session of either kind.

    read the user (no transaction stays open)  →  one Argon2 verification, whether or not the user exists  →  one
    transaction: admit the user if the verified hash is still theirs, session, refresh token, audit  →  sign after it

Every rejection does the same work in the same order, so that text, format and time reveal nothing (contract §1, A40):
one read, one verification, and one audit row, committed before the response. The row holds the HMAC of the address,
whether or not it exists; only the audit log has the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication.refresh import TokenPair
from keystead.context import ActiveBrand, Context
from keystead.crypto.passwords import Share
from keystead.db.interface import Tx
from keystead.errors import InvalidCredentials
from keystead.installation import keyring_updates
from keystead.policy import SessionKind, require_feature, require_kind
from keystead.sessions import access_tokens
from keystead.sessions import service as sessions
from keystead.sessions.model import EndReason, Opened
from keystead.sessions.rotation import RotationKeys
from keystead.users import email_addresses, login_store, passwords
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import LoginCandidate

_ATTEMPTS = 2
"""A second one after a lost race: a concurrent login of the same user may have rehashed the password."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """A user whose password was verified."""

    candidate: LoginCandidate
    as_read: str = field(repr=False)
    rehashed: str | None = field(repr=False)


async def log_in_pair(ctx: Context, brand: ActiveBrand, email: str, password: str) -> TokenPair:
    """Open a pair session.

    :raises Forbidden: when the brand has no pair sessions or no password login; names the feature.
    :raises BadUserInput: for text that is no address or cannot be a password; names the field.
    :raises InvalidCredentials: for every other reason.
    """
    opened = await _log_in(ctx, brand, email, password, SessionKind.pair)
    auth_token = await first_access_token(ctx, brand, opened)
    return TokenPair(auth_token, opened.refresh_token.reveal())


async def log_in_standing(ctx: Context, brand: ActiveBrand, email: str, password: str) -> str:
    """Open a standing session and return its refresh token. Raises as :func:`log_in_pair` does."""
    opened = await _log_in(ctx, brand, email, password, SessionKind.standing)
    return opened.refresh_token.reveal()


def session_events(ctx: Context, opened: Opened, kind: SessionKind, **details: str) -> list[AuditEvent]:
    """The audit events of a new session, and of the sessions that were ended to keep ``max_sessions``."""

    def describe(event: str, session_id: str, reason: str | None = None) -> AuditEvent:
        return audit.describe(
            ctx,
            event,
            brand_id=opened.brand_id,
            reason=reason,
            subject_id=opened.user_id,
            session_id=session_id,
            details={"kind": kind.value, **details},
        )

    ended = [describe("session.ended", session_id, EndReason.limit.value) for session_id in opened.ended]
    return [describe("session.opened", opened.session_id), *ended]


async def first_access_token(ctx: Context, brand: ActiveBrand, opened: Opened) -> str:
    """Issue the first access token of a pair session. Call it after the commit."""
    await keyring_updates.sign_with(ctx.server, opened.keyring_version)
    return access_tokens.issue(
        ctx.server,
        opened.brand_id,
        opened.user_id,
        opened.session_id,
        brand.policy.access_ttl,
        ctx.now(),
        not_after=opened.expires_at,
    )


async def _log_in(ctx: Context, brand: ActiveBrand, email: str, password: str, kind: SessionKind) -> Opened:
    require_kind(brand.preset, kind)
    require_feature(brand.features, "password_login")
    address = email_addresses.parse(email, "email")
    candidate: LoginCandidate | None = None
    reason = ""
    for _ in range(_ATTEMPTS):
        candidate = await login_store.find_login(ctx.db.reads, brand.id, address.canonical)
        verified = await _verify(ctx, brand, candidate, password)
        if verified is None:
            reason = _why_not(candidate)
            break
        opened = await _open(ctx, brand, verified, kind)
        if opened is not None:
            return opened
        reason = "overtaken"
    await _record_rejection(ctx, brand, address, candidate, reason)
    raise InvalidCredentials


async def _verify(
    ctx: Context, brand: ActiveBrand, candidate: LoginCandidate | None, password: str
) -> _Verified | None:
    pool, share = ctx.server.passwords, Share(brand.id, ctx.request.address_prefix)
    is_right = await passwords.check_password(pool, candidate, password, share=share)
    if not is_right or candidate is None or candidate.password_hash is None:
        return None
    return _Verified(candidate, candidate.password_hash, await passwords.rehash(pool, candidate, password, share=share))


async def _open(ctx: Context, brand: ActiveBrand, verified: _Verified, kind: SessionKind) -> Opened | None:
    """The closing step; None when the user was disabled, or the password changed, since the read."""
    now, keys, opened_from = ctx.now(), RotationKeys.of(ctx.server), sessions.device(ctx.request)
    user_id = verified.candidate.user_id

    async def close(tx: Tx) -> Opened | None:
        opened = await sessions.open_session(
            tx, brand, user_id, kind, opened_from, keys, now, password_hash=verified.as_read
        )
        if opened is None:
            return None
        if verified.rehashed is not None:
            await login_store.replace_hash(tx, brand.id, user_id, verified.as_read, verified.rehashed)
        for event in session_events(ctx, opened, kind):
            await audit.record(tx, event)
        return opened

    return await ctx.db.run(close)


def _why_not(candidate: LoginCandidate | None) -> str:
    if candidate is None:
        return "unknown_address"
    if candidate.is_disabled:
        return "disabled"
    return "no_password" if candidate.password_hash is None else "wrong_password"


async def _record_rejection(
    ctx: Context, brand: ActiveBrand, address: EmailAddress, candidate: LoginCandidate | None, reason: str
) -> None:
    event = audit.describe(
        ctx,
        "login.refused",
        brand_id=brand.id,
        outcome="refused",
        reason=reason,
        subject_id=candidate.user_id if candidate else None,
        details={"address": address.pseudonym(ctx.server.master_key, brand.id)},
    )
    await audit.record_alone(ctx, event)
