"""End the caller's session, another of theirs, all of them, or the session of a refresh token (RFC 7009)."""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.authentication.authenticate import expected_brand_id, signed_in_user
from keystead.context import Context
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.db.interface import Tx
from keystead.errors import NoLoginMethod, NotFound
from keystead.policy import Features
from keystead.sessions import store as sessions
from keystead.sessions.model import REVOKING_REASONS, EndReason
from keystead.sessions.refresh_token_store import find_presented
from keystead.users import email_change, email_change_store, login_store


async def log_out(ctx: Context) -> None:
    """End the caller's session; its access tokens are rejected from the next request on.

    :raises Unauthenticated: when no user is signed in.
    """
    caller = signed_in_user(ctx)
    # False when the session was ended concurrently: the result is the same.
    await _end(ctx, caller.brand_id, caller.user_id, caller.session_id, EndReason.logout)


async def revoke_refresh_token(ctx: Context, raw: str) -> None:
    """End the session that a refresh token belongs to, of either kind (RFC 7009).

    The token is the only credential needed. Any token of the session will do, also one that was rotated or has expired:
    a client that lost a response holds an older one, and a thief of one could end the session by reusing it anyway.
    An unknown token, one of an ended session, and one of another brand than the request's credentials change nothing,
    and the response is the same (RFC 7009 §2.2): it does not tell whether the token was valid.
    """
    secret = secrets.parse(raw, SecretKind.refresh)
    if secret is None:
        return
    token = await find_presented(ctx.db.reads, secret.digest(), expected_brand_id(ctx))
    # Whether the brand is disabled does not matter: the session must not be alive when it is enabled again.
    if token is not None:
        await _end(ctx, token.brand_id, token.user_id, token.session_id, EndReason.logout)


async def revoke_session(ctx: Context, session_id: str) -> None:
    """Revoke a session of the caller; an e-mail change that it requested is cancelled, with its links.

    :raises NotFound: when they have no such session alive.
    """
    caller = signed_in_user(ctx)
    if not await _end(ctx, caller.brand_id, caller.user_id, session_id, EndReason.revoked):
        raise NotFound("You have no such session.")


async def log_out_everywhere(ctx: Context, *, force: bool) -> None:
    """End all sessions of the caller, of both kinds, on every node.

    A pending e-mail change is cancelled and mailed links are invalidated, but for a user without login address: those
    are their only way to log in again.

    :raises NoLoginMethod: when they could not log in again, unless ``force``.
    """
    caller = signed_in_user(ctx)
    features = ctx.brand.features if ctx.brand else Features(password_login=False)
    event = audit.describe(
        ctx,
        "session.all_ended",
        brand_id=caller.brand_id,
        subject_id=caller.user_id,
        details={"forced": force},
    )

    async def end(tx: Tx) -> bool:
        is_done = await login_store.end_all_sessions(
            tx,
            caller.brand_id,
            caller.user_id,
            password_login=features.password_login,
            magic_login=features.magic_login,
            force=force,
        )
        if is_done:
            await email_change.cancel(tx, caller.brand_id, caller.user_id)
            await audit.record(tx, event)
        return is_done

    if not await ctx.db.run(end):
        raise NoLoginMethod


async def _end(ctx: Context, brand_id: str, user_id: str, session_id: str, reason: EndReason) -> bool:
    now = ctx.now()

    async def end(tx: Tx) -> bool:
        if reason in REVOKING_REASONS:
            # Lock order: the user before the session, which may be requesting an e-mail change concurrently.
            await email_change_store.lock_addresses(tx, brand_id, user_id)
        is_ended = await sessions.end_own_session(tx, brand_id, user_id, session_id, reason, now)
        if is_ended:
            if reason in REVOKING_REASONS:
                await email_change.cancel_of_session(tx, brand_id, user_id, session_id)
            event = audit.describe(
                ctx,
                "session.ended",
                brand_id=brand_id,
                reason=reason.value,
                subject_id=user_id,
                session_id=session_id,
            )
            await audit.record(tx, event)
        return is_ended

    return await ctx.db.run(end)
