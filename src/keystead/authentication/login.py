"""Logging in with an e-mail address and a password, by either contract.

    read the user (no transaction stays open)  →  one Argon2 verification, for everybody  →  one transaction:
    the user is admitted only with the hash that was verified, session, refresh token, audit  →  sign after the commit

Every refusal does the same work in the same order, so that text, shape and time tell nothing (contract §1, A40): one
read, one verification, and one audit row, written before the answer. Each row carries the HMAC of the address, whether
or not somebody has it; only the audit log knows the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keystead.audit import service as audit
from keystead.authentication import opening
from keystead.authentication.pseudonyms import pseudonym
from keystead.authentication.refresh import TokenPair
from keystead.context import ActiveBrand, Context
from keystead.crypto.passwords import Share
from keystead.db.interface import Tx
from keystead.errors import InvalidCredentials
from keystead.policy import SessionKind, require_feature, require_kind
from keystead.sessions import service as sessions
from keystead.sessions.model import Opened
from keystead.users import credentials, email_addresses
from keystead.users import service as users
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import LoginCandidate

_ATTEMPTS = 2
"""A second one for who is overtaken: another login of the same user may have renewed the hash in between."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A user whose password was found right."""

    candidate: LoginCandidate
    as_read: str = field(repr=False)
    stronger_hash: str | None = field(repr=False)


async def log_in_pair(ctx: Context, brand: ActiveBrand, email: str, password: str) -> TokenPair:
    """A session of the pair contract.

    :raises Forbidden: when the brand has no such sessions or no password login; names the feature.
    :raises BadUserInput: for text that is no address, or can be nobody's password; names the field.
    :raises InvalidCredentials: whatever else is wrong.
    """
    opened = await _log_in(ctx, brand, email, password, SessionKind.pair)
    auth_token = await opening.first_access_token(ctx, brand, opened)
    return TokenPair(auth_token, opened.refresh_token.reveal())


async def log_in_standing(ctx: Context, brand: ActiveBrand, email: str, password: str) -> str:
    """The refresh token of a new standing session. Raises as :func:`log_in_pair` does."""
    opened = await _log_in(ctx, brand, email, password, SessionKind.standing)
    return opened.refresh_token.reveal()


async def _log_in(ctx: Context, brand: ActiveBrand, email: str, password: str, kind: SessionKind) -> Opened:
    require_kind(brand.preset, kind)
    require_feature(brand.features, "password_login")
    address = email_addresses.parse(email, "email")
    candidate: LoginCandidate | None = None
    reason = ""
    for _ in range(_ATTEMPTS):
        candidate = await users.find_login(ctx.db.reads, brand.id, address)
        found = await _check(ctx, brand, candidate, password)
        if found is None:
            reason = _why_not(candidate)
            break
        opened = await _open(ctx, brand, found, kind)
        if opened is not None:
            return opened
        reason = "overtaken"
    await _record_refusal(ctx, brand, address, candidate, reason)
    raise InvalidCredentials


async def _check(ctx: Context, brand: ActiveBrand, candidate: LoginCandidate | None, password: str) -> _Found | None:
    passwords, share = ctx.server.passwords, Share(brand.id, ctx.request.address_prefix)
    is_right = await credentials.check_password(passwords, candidate, password, share=share)
    if not is_right or candidate is None or candidate.password_hash is None:
        return None
    stronger = await credentials.strengthen_hash(passwords, candidate, password, share=share)
    return _Found(candidate, candidate.password_hash, stronger)


async def _open(ctx: Context, brand: ActiveBrand, found: _Found, kind: SessionKind) -> Opened | None:
    """The closing step; None when the user was disabled, or given another password, since they were read."""
    now, keys, opened_from = ctx.now(), sessions.RotationKeys.of(ctx.server), sessions.device(ctx.request)
    user_id = found.candidate.user_id

    async def close(tx: Tx) -> Opened | None:
        opened = await sessions.open_session(
            tx, brand, user_id, kind, opened_from, keys, now, password_hash=found.as_read
        )
        if opened is None:
            return None
        if found.stronger_hash is not None:
            await users.replace_hash(tx, brand.id, user_id, found.as_read, found.stronger_hash)
        for event in opening.events(ctx, opened, kind):
            await audit.record(tx, event)
        return opened

    return await ctx.db.run(close)


def _why_not(candidate: LoginCandidate | None) -> str:
    if candidate is None:
        return "unknown_address"
    if candidate.is_disabled:
        return "disabled"
    return "no_password" if candidate.password_hash is None else "wrong_password"


async def _record_refusal(
    ctx: Context, brand: ActiveBrand, address: EmailAddress, candidate: LoginCandidate | None, reason: str
) -> None:
    event = audit.describe(
        ctx,
        "login.refused",
        brand_id=brand.id,
        outcome="refused",
        reason=reason,
        subject_id=candidate.user_id if candidate else None,
        details={"address": pseudonym(ctx, brand.id, address)},
    )
    await audit.record_alone(ctx, event)
