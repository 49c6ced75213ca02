"""E-mail changes, magic links and password resets.

Contract §3: whether an address is taken or known does not show in the answer.
"""

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
    """Start an e-mail change; effective immediately if the brand requires no verification."""
    await email_change.change_email(ctx, arguments["newEmail"], arguments.get("password"))
    return True


@resolver("Mutation.changeEmailMagically")
async def change_email_magically(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Start an e-mail change whose link also logs in."""
    await email_change.change_email_by_link(ctx, arguments["newEmail"])
    return True


@resolver("Mutation.resendVerificationMail")
async def resend_verification_mail(ctx: Context, _arguments: Arguments, _: Selection) -> bool:
    """Mail the verification link again; false when no e-mail change is pending."""
    return await email_change.resend_verification(ctx)


@resolver("Mutation.requestMagicLogin")
async def request_magic_login(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Mail a magic link, if the user exists."""
    brand = await choose_brand(ctx, arguments.get("brand"))
    await magic_link.request_magic_link(ctx, brand, arguments["email"])
    return True


@resolver("Mutation.redeemMagicLink")
async def redeem_magic_link(ctx: Context, arguments: Arguments, _: Selection) -> dict[str, Any]:
    """Open a session by a magic link; returns its tokens."""
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
    """Mail a password reset link, if the user exists."""
    brand = await choose_brand(ctx, arguments.get("brand"))
    await password_change.request_reset(ctx, brand, arguments["email"])
    return True


@resolver("Mutation.resetPassword")
async def reset_password(ctx: Context, arguments: Arguments, _: Selection) -> bool:
    """Set a new password by a reset link."""
    secret = secrets.parse(arguments["token"], SecretKind.reset)
    await password_change.reset_password(ctx, secret, arguments["newPassword"])
    return True
