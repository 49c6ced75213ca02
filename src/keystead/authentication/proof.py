"""Proving an address: what a link in a mail does once it is used. Security §13.

    consume the token  →  one conditional UPDATE makes the claim the login  →  rivals, other tokens, other sessions,
    notices to the old address, audit: all of it in one transaction

A claim is proved with the password that came with it, and the session that made it goes on. A login address that was
granted without proof is another matter: whoever got it need not be its owner, so its passwords and sessions end.
"""

from __future__ import annotations

from dataclasses import dataclass

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication import notices
from keystead.authentication.address_notices import address_changed
from keystead.authentication.claiming.claimers import lock_standing
from keystead.authentication.correspondence import Correspondence, open_correspondence
from keystead.authentication.link_tokens import find_presented
from keystead.authentication.pseudonyms import pseudonym
from keystead.context import Context
from keystead.crypto.secrets import SecretKind
from keystead.db.interface import Tx
from keystead.errors import TokenInvalid
from keystead.sessions import service as sessions
from keystead.sessions.model import Device, EndReason
from keystead.users.claims import service as claims
from keystead.users.claims.model import Addresses
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import service as tokens
from keystead.users.one_time_tokens.model import OneTimeToken


@dataclass(frozen=True, slots=True)
class Proved:
    """An address was proved, or had been before."""

    user_id: str
    ends_all: bool
    """Whether that ended all sessions of the user, by their epoch."""


def describe_proof(ctx: Context, token: OneTimeToken) -> AuditEvent:
    """The event that :func:`prove` and :func:`prove_login` record."""
    address = _address(token)
    return audit.describe(
        ctx,
        "user.email_proved",
        brand_id=token.brand_id,
        subject_id=token.user_id,
        details={"address": pseudonym(ctx, token.brand_id, address), "purpose": token.purpose.value},
    )


async def verify_email(ctx: Context, raw: str) -> None:
    """Proves the address that the token was sent to.

    :raises TokenInvalid: when the token is unknown, used, run out, of another brand than the request's credential, or
        the address is not claimed any more or has become somebody else's.
    """
    presented = await find_presented(ctx, raw, SecretKind.verify)
    event, brand = describe_proof(ctx, presented.token), presented.brand
    correspondence = await open_correspondence(ctx, brand)

    async def verify(tx: Tx) -> Proved | None:
        token = await tokens.consume(tx, brand.id, presented.secret, correspondence.now)
        return None if token is None else await prove(tx, correspondence, token, event)

    if await ctx.db.run(verify) is None:
        raise TokenInvalid(cause="used or overtaken a moment ago")


async def prove(tx: Tx, correspondence: Correspondence, token: OneTimeToken, event: AuditEvent) -> Proved | None:
    """Makes the address of a token to verify or claim, consumed or exchanged in this transaction, a proved login.

    None when there is nothing to prove: another address is claimed by now, this one is somebody else's login, or the
    user is disabled. The caller then raises ``TokenInvalid`` outside of the transaction; the token may stay consumed.

    :raises Contention: when two are given one address at the same moment; ``Database.run`` tries again.
    """
    brand_id, user_id, canonical = token.brand_id, token.user_id, token.email_canonical
    now = correspondence.now
    before = await lock_standing(tx, brand_id, user_id)
    if before is None:
        return None
    if before.is_claim_on(canonical):
        if not await claims.grant_claim(tx, brand_id, user_id, canonical, now):
            return None
        kept = None if before.is_unproved_login(canonical) else before.claiming_session_id
    elif await claims.prove_login(tx, brand_id, user_id, canonical, now):
        kept = None
    else:
        return None
    if kept is not None:
        await sessions.end_others(tx, brand_id, user_id, kept, EndReason.address_proved, now)
    await _settle(tx, correspondence, token, event)
    await _notify(tx, correspondence, token, before, Device(event.ip_prefix, event.user_agent))
    return Proved(user_id, ends_all=kept is None)


async def prove_login(tx: Tx, correspondence: Correspondence, token: OneTimeToken, event: AuditEvent) -> Proved | None:
    """Takes the use of a token to log in or to reset a password as the proof of its address, which must be the login.

    Where it was granted without proof, all sessions end and all passwords and claims go: ``ends_all``. None when the
    address is not the user's login any more, or the user is disabled.
    """
    brand_id, user_id, canonical = token.brand_id, token.user_id, token.email_canonical
    before = await claims.lock_addresses(tx, brand_id, user_id)
    if before is None or not before.is_login(canonical):
        return None
    is_new = await claims.prove_login(tx, brand_id, user_id, canonical, correspondence.now)
    if is_new:
        await _settle(tx, correspondence, token, event)
    else:
        await correspondence.note_answered(tx, canonical)
    return Proved(user_id, ends_all=is_new)


async def _notify(
    tx: Tx, correspondence: Correspondence, token: OneTimeToken, before: Addresses, device: Device
) -> None:
    """Tells the login address of before, if it was proved: of another one in its place, of a first password."""
    if before.login is None or not before.is_proved:
        return
    if before.is_claim_on(token.email_canonical) and before.pending_hash is not None:
        await notices.password_added(tx, correspondence, token.user_id, before.login, device)
    old = before.proved_other(token.email_canonical)
    if old is not None:
        await address_changed(tx, correspondence, token.user_id, old, _address(token), device)


async def _settle(tx: Tx, correspondence: Correspondence, token: OneTimeToken, event: AuditEvent) -> None:
    await claims.settle(tx, token.brand_id, token.user_id, token.email_canonical, token.email_skeleton)
    await correspondence.note_answered(tx, token.email_canonical)
    await audit.record(tx, event)


def _address(token: OneTimeToken) -> EmailAddress:
    return EmailAddress(token.email, token.email_canonical, token.email_skeleton)
