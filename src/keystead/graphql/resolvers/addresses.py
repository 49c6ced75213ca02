"""Claiming an e-mail address, and asking for the link again. Contract §3: a taken address is answered alike."""

from __future__ import annotations

from typing import Any

from keystead.authentication import address_claims
from keystead.context import Context
from keystead.graphql.resolvers import resolver
from keystead.graphql.selection import Selection

Arguments = dict[str, Any]


@resolver("Mutation.changeAndValidateEmail")
async def change_and_validate_email(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Claims an address, which a link proves; a login at once where the brand asks for no proof."""
    await address_claims.claim(ctx, arguments["newEmail"], arguments.get("password"))
    return True


@resolver("Mutation.changeEmailMagically")
async def change_email_magically(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Claims an address by a link that proves it and logs in."""
    await address_claims.claim_magically(ctx, arguments["newEmail"])
    return True


@resolver("Mutation.resendVerificationMail")
async def resend_verification_mail(ctx: Context, _arguments: Arguments, _: Selection) -> bool:
    """Mails the link again; false when there is nothing to prove."""
    return await address_claims.resend(ctx)
