"""An administrator makes a user whose address waits for proof: a link goes to it. Contract §3."""

from __future__ import annotations

from keystead.authentication.correspondence import open_correspondence
from keystead.authentication.proof_requests import ask_for_proof
from keystead.context import ActiveBrand, Context
from keystead.db.interface import Tx
from keystead.errors import RateLimited
from keystead.sessions import service as sessions
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import NewUser, User
from keystead.users.one_time_tokens.model import TokenPurpose


async def create_user(ctx: Context, brand: ActiveBrand, new: NewUser) -> User:
    """Makes the user as ``users.create_user`` does, and raises what it raises.

    Where the address has to be proved, a link is mailed to it.

    :raises RateLimited: when the address has had its share of mail (security §7); then no user is made, since this one
        link is how the account becomes its owner's.
    """
    if new.is_verified or not brand.features.email_verification:
        return await users.create_user(ctx, brand, new)
    address = email_addresses.parse(new.email)
    device = sessions.device(ctx.request)
    correspondence = await open_correspondence(ctx, brand)

    async def mail(tx: Tx, user: User) -> None:
        asked = await ask_for_proof(tx, correspondence, user.id, address, TokenPurpose.verify, device)
        if not asked.is_mailed:
            wait = await correspondence.seconds_until_allowed(tx, address.canonical)
            raise RateLimited(
                f"This address has been sent enough mail: try again in {wait} seconds, or vouch for the address"
                " (verified).",
                retry_after=wait,
            )

    return await users.create_user(ctx, brand, new, finish=mail)
