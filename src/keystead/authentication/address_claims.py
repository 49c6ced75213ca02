"""A signed-in user names an address: theirs once it is proved. Contract §3, security §13.

    what the caller must know or may set (Argon2, outside of every transaction)  →  one transaction: the claim, links
    for another one dead, a mail, audit

A claim on another user's address is stored and answered like any other; only its owner learns of it, from the mail
worker. Where the brand asks for no proof the address is a login immediately, and a taken one is a conflict; unless the
caller has a login address that was proved and no password to confirm.
"""

from __future__ import annotations

from dataclasses import replace

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication.claiming.claimers import lock_standing
from keystead.authentication.claiming.writing import Claim, write_claim, write_grant
from keystead.authentication.correspondence import open_correspondence
from keystead.authentication.logout import signed_in_user
from keystead.authentication.mail_requests import describe_request, write_request
from keystead.authentication.proof_requests import PROOF_MAILS
from keystead.authentication.pseudonyms import pseudonym
from keystead.context import ActiveBrand, Context
from keystead.crypto.passwords import Share
from keystead.db.interface import Tx
from keystead.errors import Conflict, InternalError, InvalidCredentials
from keystead.mail.model import MailKind
from keystead.policy import require_feature
from keystead.sessions import service as sessions
from keystead.users import credentials, email_addresses
from keystead.users import service as users
from keystead.users.claims import service as claims
from keystead.users.claims.model import Addresses
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import LoginCandidate
from keystead.users.one_time_tokens.model import TokenPurpose

_WRONG = "The password is missing or wrong."
_BY_LINK_ALONE = "This user logs in with a password: change the address with the password."


async def claim(ctx: Context, new_email: str, password: str | None) -> None:
    """``changeAndValidateEmail``: claims the address, or takes it at once where the brand asks for no proof.

    A user with a password confirms it. One without may set it here; it is theirs together with the address. The same
    claim again is like having the link mailed again: the older one stays good where no other may follow yet.

    A user whose login address was proved and who has no password always goes by link, for their own address, too: an
    access token alone must not give their account a password.

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
        asked = replace(asked, new_hash=await _hash_first(ctx, asked, password, share))
    await _write(ctx, asked, TokenPurpose.verify, at_once=not asked.brand.features.email_verification)


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
    await _write(ctx, asked, TokenPurpose.claim)


async def resend(ctx: Context) -> bool:
    """``resendVerificationMail``: asks again for proof of the claim, else of a login that was never proved.

    False when there is nothing to prove.

    :raises Forbidden: when the brand asks for no proof.
    """
    caller, brand = signed_in_user(ctx), _brand(ctx)
    require_feature(brand.features, "email_verification")

    async def send(tx: Tx) -> bool:
        address = _to_prove(await lock_standing(tx, brand.id, caller.user_id))
        if address is None:
            return False
        request = describe_request(ctx, brand, MailKind.verify_email, address, caller.user_id)
        await write_request(tx, request, is_limited=ctx.server.settings.throttling)
        return True

    return await ctx.db.run(send)


async def _write(ctx: Context, asked: Claim, purpose: TokenPurpose, *, at_once: bool = False) -> None:
    """Claims the address; ``at_once`` makes it the login instead.

    Never at once where nothing was asked of the caller but an access token, and whoever has the mailbox of the login
    address is the only one who has proved anything.
    """
    device, correspondence = sessions.device(ctx.request), await open_correspondence(ctx, asked.brand)

    request = describe_request(ctx, asked.brand, PROOF_MAILS[purpose], asked.address, asked.caller.user_id)

    async def write(tx: Tx) -> str | None:
        # The user's row first: whoever is ending this session holds it, and what they did is seen once it is ours.
        before = await claims.lock_addresses(tx, asked.brand.id, asked.caller.user_id)
        if before is None:
            return "overtaken"
        if at_once and not (before.is_proved and asked.as_read is None):
            problem = await write_grant(tx, correspondence, asked, before, device)
            if problem is None:
                await audit.record(tx, _event(ctx, asked, "user.email_granted"))
            return problem
        if not await write_claim(tx, asked, before, request):
            return "overtaken"
        await write_request(tx, request, is_limited=ctx.server.settings.throttling)
        await audit.record(tx, _event(ctx, asked, "user.email_claimed", purpose=purpose.value))
        return None

    problem = await ctx.db.run(write)
    if problem == "taken":
        raise Conflict("This e-mail address is taken.", field="newEmail")
    if problem is not None:
        raise await _refusal(ctx, asked, problem)


async def _hash_first(ctx: Context, asked: Claim, password: str, share: Share) -> str:
    """The hash of a password that comes with the claim: the one that waits already, if it is of this very password.

    To claim the same address again costs a second one whether or not a password waits with it still: the time would
    tell that somebody else has proved the address, at which it was dropped.
    """
    brand, user_id, passwords = asked.brand, asked.caller.user_id, ctx.server.passwords
    new_hash = await credentials.hash_new(passwords, brand, password, address=asked.address, share=share)
    waiting = await claims.find_addresses(ctx.db.reads, brand.id, user_id)
    if waiting is None or not waiting.is_claim_on(asked.address.canonical):
        return new_hash
    candidate = LoginCandidate(user_id, waiting.pending_hash, is_disabled=False)
    is_same = await credentials.check_password(passwords, candidate, password, share=share)
    return waiting.pending_hash if is_same and waiting.pending_hash else new_hash


def _asked(ctx: Context, new_email: str, *features: str) -> Claim:
    caller, brand = signed_in_user(ctx), _brand(ctx)
    for name in features:
        require_feature(brand.features, name)
    return Claim(caller, brand, email_addresses.parse(new_email, "newEmail"))


def _to_prove(found: Addresses | None) -> EmailAddress | None:
    if found is None:
        return None
    return found.pending or (None if found.is_proved else found.login)


def _event(ctx: Context, asked: Claim, name: str, **details: str) -> AuditEvent:
    details = {"address": pseudonym(ctx, asked.brand.id, asked.address), **details}
    return audit.describe(ctx, name, brand_id=asked.brand.id, subject_id=asked.caller.user_id, details=details)


async def _refusal(ctx: Context, asked: Claim, reason: str, message: str = _WRONG) -> InvalidCredentials:
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
