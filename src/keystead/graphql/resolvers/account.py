"""Claiming an e-mail address, and asking for the link again. Contract §3: a taken address is answered alike."""

from __future__ import annotations

from typing import Any

from keystead.authentication import email_change, magic_link, password_change
from keystead.authentication.authenticate import choose_brand
from keystead.context import Context
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.graphql.executor.selection import Selection
from keystead.graphql.resolvers import resolver
from keystead.policy import SessionKind

Arguments = dict[str, Any]


@resolver("Mutation.changeAndValidateEmail")
async def change_and_validate_email(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Claims an address, which a link proves; a login at once where the brand asks for no proof."""
    await email_change.change_email(ctx, arguments["newEmail"], arguments.get("password"))
    return True


@resolver("Mutation.changeEmailMagically")
async def change_email_magically(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Claims an address by a link that proves it and logs in."""
    await email_change.change_email_by_link(ctx, arguments["newEmail"])
    return True


@resolver("Mutation.resendVerificationMail")
async def resend_verification_mail(ctx: Context, _arguments: Arguments, _: Selection) -> bool:
    """Mails the link again; false when there is nothing to prove."""
    return await email_change.resend_verification(ctx)


@resolver("Mutation.requestMagicLogin")
async def request_magic_login(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Mails a link that logs in, if there is somebody to mail it to."""
    brand = await choose_brand(ctx, arguments.get("brand"))
    await magic_link.request_magic_link(ctx, brand, arguments["email"])
    return True


@resolver("Mutation.redeemMagicLink")
async def redeem_magic_link(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """The tokens of a session that a link opened."""
    kind = arguments.get("session")
    secret = secrets.parse(arguments["token"], SecretKind.magic)
    opened = await magic_link.redeem(ctx, secret, None if kind is None else SessionKind(kind))
    return {
        "data": {
            "refresh_token": opened.refresh_token,
            "auth_token": opened.auth_token,
            "session": opened.kind.value,
        }
    }


@resolver("Mutation.requestPasswordReset")
async def request_password_reset(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Mails a link to a new password, if there is somebody to mail it to."""
    brand = await choose_brand(ctx, arguments.get("brand"))
    await password_change.request_reset(ctx, brand, arguments["email"])
    return True


@resolver("Mutation.resetPassword")
async def reset_password(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Sets the password of whoever got the link."""
    secret = secrets.parse(arguments["token"], SecretKind.reset)
    await password_change.reset_password(ctx, secret, arguments["newPassword"])
    return True
