"""A signed-in user names an address: theirs once it is proved. Contract §3, security §13.

    what the caller must know or may set (Argon2, outside of every transaction)  →  one transaction: the claim, older
    links dead, a mail, audit

A claim on somebody else's address is stored and answered like any other; only its owner learns of it. Where the brand
asks for no proof the address is a login at once, and a taken one is a conflict.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication import notices
from keystead.authentication.address_notices import address_changed
from keystead.authentication.claiming import store
from keystead.authentication.claiming.claimers import lock_standing
from keystead.authentication.correspondence import Correspondence, open_correspondence, without_link
from keystead.authentication.logout import signed_in_user
from keystead.authentication.proof_requests import Asked, ask_for_proof
from keystead.authentication.pseudonyms import pseudonym
from keystead.context import ActiveBrand, Context, UserPrincipal
from keystead.crypto.passwords import Share
from keystead.db.engine import Tx
from keystead.errors import Conflict, InternalError, InvalidCredentials
from keystead.policy import require_feature
from keystead.sessions import service as sessions
from keystead.sessions.model import Device
from keystead.users import credentials, email_addresses
from keystead.users import service as users
from keystead.users.claims import service as claims
from keystead.users.claims.model import Addresses
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import service as tokens
from keystead.users.one_time_tokens.model import TokenPurpose

_WRONG = "The password is missing or wrong."
_BY_LINK_ALONE = "This user logs in with a password: change the address with the password."
_PROVING = (TokenPurpose.verify, TokenPurpose.claim)


@dataclass(frozen=True, slots=True)
class _Claim:
    """Who wants which address, with what they knew or set."""

    caller: UserPrincipal
    brand: ActiveBrand
    address: EmailAddress
    as_read: str | None = field(default=None, repr=False)
    """The hash of the password that was confirmed; None: the user has none."""
    new_hash: str | None = field(default=None, repr=False)
    """The hash of the password that comes with the claim."""


async def claim(ctx: Context, new_email: str, password: str | None) -> None:
    """``changeAndValidateEmail``: claims the address, or takes it at once where the brand asks for no proof.

    A user with a password confirms it. One without may set it here; it is theirs together with the address.

    :raises BadUserInput: for text that is no address, or a new password that the rules refuse; names the field.
    :raises Forbidden: for a new password where the brand has no password login.
    :raises InvalidCredentials: when the password is missing or wrong, or user or session were changed meanwhile.
    :raises Conflict: where no proof is asked for and the address is taken; names ``newEmail``.
    """
    asked = _asked(ctx, new_email)
    candidate = await users.find_login_of(ctx.db.reads, asked.brand.id, asked.caller.user_id)
    share = Share(asked.brand.id, ctx.request.address_prefix)
    passwords = ctx.server.passwords
    if candidate is not None and candidate.password_hash is not None:
        if password is None:
            raise await _refusal(ctx, asked, "password_missing")
        if not await credentials.check_password(passwords, candidate, password, share=share):
            raise await _refusal(ctx, asked, "wrong_password")
        asked = replace(asked, as_read=candidate.password_hash)
    elif password is not None:
        require_feature(asked.brand.features, "password_login")
        new_hash = await credentials.hash_new(passwords, asked.brand, password, address=asked.address, share=share)
        asked = replace(asked, new_hash=new_hash)
    if asked.brand.features.email_verification:
        await _claim(ctx, asked, TokenPurpose.verify)
    else:
        await _grant(ctx, asked)


async def claim_magically(ctx: Context, new_email: str) -> None:
    """``changeEmailMagically``: claims the address by a link that proves it and logs in.

    Always by link, also where the brand asks for no proof. A user with a password is refused: it would protect nothing.

    :raises Forbidden: when the brand has no magic login.
    :raises BadUserInput: for text that is no address; names ``newEmail``.
    :raises InvalidCredentials: when the user has a password, or user or session were changed meanwhile.
    """
    asked = _asked(ctx, new_email, "magic_login")
    candidate = await users.find_login_of(ctx.db.reads, asked.brand.id, asked.caller.user_id)
    if candidate is not None and candidate.password_hash is not None:
        raise await _refusal(ctx, asked, "has_password", _BY_LINK_ALONE)
    await _claim(ctx, asked, TokenPurpose.claim)


async def resend(ctx: Context) -> bool:
    """``resendVerificationMail``: asks again for proof of the claim, else of a login that was never proved.

    False when there is nothing to prove.

    :raises Forbidden: when the brand asks for no proof.
    """
    caller, brand, device = signed_in_user(ctx), _brand(ctx), sessions.device(ctx.request)
    require_feature(brand.features, "email_verification")
    correspondence = await open_correspondence(ctx, brand)

    async def send(tx: Tx) -> bool:
        address = _to_prove(await lock_standing(tx, brand.id, caller.user_id))
        if address is None:
            return False
        result = await ask_for_proof(tx, correspondence, caller.user_id, address, TokenPurpose.verify, device)
        details = {"kind": "verify_email", "address": pseudonym(ctx, brand.id, address)}
        event = audit.describe(
            ctx,
            "mail.requested",
            brand_id=brand.id,
            outcome="refused" if result.reason else "success",
            reason=result.reason,
            subject_id=caller.user_id,
            details=details,
        )
        await audit.record(tx, event)
        return True

    return await ctx.db.run(send)


async def _claim(ctx: Context, asked: _Claim, purpose: TokenPurpose) -> None:
    brand_id, caller, device = asked.brand.id, asked.caller, sessions.device(ctx.request)
    correspondence = await open_correspondence(ctx, asked.brand)

    async def write(tx: Tx) -> bool:
        # The user's row first: whoever is ending this session holds it, and what they did is seen once it is ours.
        if await claims.lock_addresses(tx, brand_id, caller.user_id) is None:
            return False
        is_claimed = await store.claim(
            tx,
            brand_id,
            caller.user_id,
            caller.session_id,
            asked.address,
            correspondence.now,
            as_read=asked.as_read,
            new_hash=asked.new_hash,
        )
        if is_claimed:
            # Whether or not a mail may follow: a link for the older claim must not prove this one.
            await tokens.forget(tx, brand_id, caller.user_id, _PROVING)
            result = await ask_for_proof(tx, correspondence, caller.user_id, asked.address, purpose, device)
            await audit.record(tx, _claimed(ctx, asked, purpose, result))
        return is_claimed

    if not await ctx.db.run(write):
        raise await _refusal(ctx, asked, "overtaken")


async def _grant(ctx: Context, asked: _Claim) -> None:
    brand_id, caller, device = asked.brand.id, asked.caller, sessions.device(ctx.request)
    correspondence = without_link(ctx, asked.brand)

    async def write(tx: Tx) -> str | None:
        before = await claims.lock_addresses(tx, brand_id, caller.user_id)
        if before is None:
            return "overtaken"
        with claims.one_owner():
            is_granted = await store.grant(
                tx,
                brand_id,
                caller.user_id,
                caller.session_id,
                asked.address,
                correspondence.now,
                as_read=asked.as_read,
                new_hash=asked.new_hash,
            )
        if not is_granted:
            owner = await claims.find_owner(tx, brand_id, caller.user_id, asked.address)
            return "overtaken" if owner is None else "taken"
        await tokens.forget_others(tx, brand_id, caller.user_id, asked.address.canonical)
        await _notify(tx, correspondence, asked, before, device)
        await audit.record(tx, _event(ctx, asked, "user.email_granted"))
        return None

    problem = await ctx.db.run(write)
    if problem == "taken":
        raise Conflict("This e-mail address is taken.", field="newEmail")
    if problem is not None:
        raise await _refusal(ctx, asked, problem)


async def _notify(tx: Tx, correspondence: Correspondence, asked: _Claim, before: Addresses, device: Device) -> None:
    """Tells a proved address that another one has taken its place, or that it was given a password."""
    user_id, old = asked.caller.user_id, before.login
    if old is None or not before.is_proved:
        return
    if old.canonical != asked.address.canonical:
        await address_changed(tx, correspondence, user_id, old, asked.address, device)
    elif asked.new_hash is not None:
        await notices.password_changed(tx, correspondence, user_id, old.display, old.canonical, device)


def _asked(ctx: Context, new_email: str, *features: str) -> _Claim:
    caller, brand = signed_in_user(ctx), _brand(ctx)
    for name in features:
        require_feature(brand.features, name)
    return _Claim(caller, brand, email_addresses.parse(new_email, "newEmail"))


def _to_prove(found: Addresses | None) -> EmailAddress | None:
    if found is None:
        return None
    return found.pending or (None if found.is_proved else found.login)


def _claimed(ctx: Context, asked: _Claim, purpose: TokenPurpose, result: Asked) -> AuditEvent:
    more = {"purpose": purpose.value, "taken": result.is_taken, "mailed": result.is_mailed}
    return _event(ctx, asked, "user.email_claimed", **more)


def _event(ctx: Context, asked: _Claim, name: str, **details: str | bool) -> AuditEvent:
    details = {"address": pseudonym(ctx, asked.brand.id, asked.address), **details}
    return audit.describe(ctx, name, brand_id=asked.brand.id, subject_id=asked.caller.user_id, details=details)


async def _refusal(ctx: Context, asked: _Claim, reason: str, message: str = _WRONG) -> InvalidCredentials:
    """On record before it is answered: whoever has stolen an access token and guesses leaves a trace."""
    event = audit.describe(
        ctx,
        "email_claim.refused",
        brand_id=asked.brand.id,
        outcome="refused",
        reason=reason,
        subject_id=asked.caller.user_id,
        details={"address": pseudonym(ctx, asked.brand.id, asked.address)},
    )
    await audit.record_alone(ctx, event)
    return InvalidCredentials(message)


def _brand(ctx: Context) -> ActiveBrand:
    if ctx.brand is None:
        raise InternalError(cause="a signed-in user without a brand")
    return ctx.brand
