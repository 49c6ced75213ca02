"""An administrator makes a user whose address waits for proof: a link goes to it. Contract §3."""

from __future__ import annotations

from dataclasses import replace

from keystead.authentication.correspondence import open_correspondence
from keystead.authentication.proof_requests import ask_for_proof
from keystead.context import ActiveBrand, Context
from keystead.db.engine import Tx
from keystead.sessions import service as sessions
from keystead.users import email_addresses
from keystead.users import service as users
from keystead.users.model import NewUser, User
from keystead.users.one_time_tokens.model import TokenPurpose


async def create_user(ctx: Context, brand: ActiveBrand, new: NewUser) -> User:
    """Makes the user as ``users.create_user`` does, and raises what it raises.

    Where the address has to be proved, a link is mailed to it, however much mail was sent there before: a stranger who
    claims the address must not keep the user from the one link that makes it theirs.
    """
    if new.is_verified or not brand.features.email_verification:
        return await users.create_user(ctx, brand, new)
    address = email_addresses.parse(new.email)
    device = sessions.device(ctx.request)
    correspondence = replace(await open_correspondence(ctx, brand), is_limited=False)

    async def mail(tx: Tx, user: User) -> None:
        await ask_for_proof(tx, correspondence, user.id, address, TokenPurpose.verify, device)

    return await users.create_user(ctx, brand, new, finish=mail)
