"""A forgotten password: a mailed link to a new one. Contract §3.

    find the token (nothing is consumed)  →  the rules of new passwords  →  one Argon2 hash  →  one transaction: the
    token is used up, the address proved, the password set, all sessions and other ways in ended, audit, notice

Both operations need ``password_reset`` and ``password_login``: a new password that nobody can log in with helps nobody.
"""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.authentication import notices, proof, store
from keystead.authentication.correspondence import open_correspondence
from keystead.authentication.link_tokens import Presented, find_presented
from keystead.authentication.mail_requests import ask_for_link
from keystead.context import ActiveBrand, Context
from keystead.crypto.passwords import Share
from keystead.crypto.secrets import SecretKind
from keystead.db.interface import Tx
from keystead.errors import TokenInvalid
from keystead.mail.model import MailKind
from keystead.policy import require_feature
from keystead.sessions import service as sessions
from keystead.users import credentials
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import service as one_time_tokens

_FEATURES = ("password_reset", "password_login")


async def request_reset(ctx: Context, brand: ActiveBrand, email: str) -> None:
    """Asks for a link to a new password; it is mailed if the address is a login, which the caller never learns.

    :raises Forbidden: when the brand has no password reset or no password login; names the feature.
    :raises BadUserInput: for text that is no address; names ``email``.
    """
    for feature in _FEATURES:
        require_feature(brand.features, feature)
    await ask_for_link(ctx, brand, email, MailKind.reset_password)


async def reset_password(ctx: Context, raw: str, new_password: str, *, field: str = "newPassword") -> None:
    """Gives the user whom the link was mailed to a new password, and uses the link up.

    All their sessions end, a claim on another address is void, and so are all other links. The owner gets a notice.

    :raises Forbidden: when the brand has no password reset or no password login; names the feature.
    :raises TokenInvalid: for every other token than a good one of the brand; whoever comes second with it, too.
    :raises BadUserInput: when the rules refuse the password; names ``field``. The token stays good.
    :raises ServerBusy: when too many hashes are waiting. The token stays good.
    """
    presented = await find_presented(ctx, raw, SecretKind.reset, *_FEATURES)
    token, brand = presented.token, presented.brand
    address = EmailAddress(token.email, token.email_canonical, token.email_skeleton)
    share = Share(brand.id, ctx.request.address_prefix)
    new_hash = await credentials.hash_new(
        ctx.server.passwords, brand, new_password, address=address, field=field, share=share
    )
    if not await _reset(ctx, presented, new_hash):
        raise TokenInvalid(cause="used or overtaken a moment ago")


async def _reset(ctx: Context, presented: Presented, new_hash: str) -> bool:
    """False when the token was used meanwhile, or its address is no longer the user's."""
    brand, user_id, device = presented.brand, presented.token.user_id, sessions.device(ctx.request)
    correspondence = await open_correspondence(ctx, brand)
    proved = proof.describe_proof(ctx, presented.token)
    event = audit.describe(ctx, "user.password_reset", brand_id=brand.id, subject_id=user_id)

    async def reset(tx: Tx) -> bool:
        token = await one_time_tokens.consume(tx, brand.id, presented.secret, correspondence.now)
        if token is None or await proof.prove_login(tx, correspondence, token, proved) is None:
            return False
        # After the proof: passwords from before it are dropped there, this one is the owner's.
        canonical = token.email_canonical
        if not await store.reset_password(tx, brand.id, user_id, canonical, new_hash, correspondence.now):
            return False
        await one_time_tokens.forget(tx, brand.id, user_id)
        await notices.password_changed(tx, correspondence, user_id, token.email, canonical, device)
        await audit.record(tx, event)
        return True

    return await ctx.db.run(reset)
