"""Ending sessions: one's own, another of one's own, or all of them. Contract §2, §3."""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.authentication import store
from keystead.authentication.brand_choice import expected_brand_id
from keystead.context import Context, UserPrincipal
from keystead.crypto import secrets
from keystead.crypto.secrets import SecretKind
from keystead.db.interface import Tx
from keystead.errors import NoLoginMethod, NotFound, Unauthenticated
from keystead.policy import Features
from keystead.sessions import service as sessions
from keystead.sessions.model import THROWN_OUT, EndReason
from keystead.users.claims import service as claims


def signed_in_user(ctx: Context) -> UserPrincipal:
    """The user who calls.

    :raises Unauthenticated: when nobody is signed in.
    """
    if not isinstance(ctx.principal, UserPrincipal):
        raise Unauthenticated("Sign in first: this needs an access token.")
    return ctx.principal


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
    a client that lost a response holds an older one, and whoever holds one could end the session by reusing it anyway.
    An unknown token, one of an ended session, and one of another brand than the request's credentials change nothing,
    and the response is the same (RFC 7009 §2.2): it does not tell whether the token was valid.
    """
    secret = secrets.parse(raw, SecretKind.refresh)
    if secret is None:
        return
    token = await sessions.find_presented(ctx.db.reads, secret.digest(), expected_brand_id(ctx))
    if token is not None and token.is_alive:
        await _end(ctx, token.brand_id, token.user_id, token.session_id, EndReason.logout)


async def revoke_session(ctx: Context, session_id: str) -> None:
    """Ends a session of the caller's; an address that it has claimed is claimed no more, and its links are dead.

    :raises NotFound: when they have no such session, or it is over.
    """
    caller = signed_in_user(ctx)
    if not await _end(ctx, caller.brand_id, caller.user_id, session_id, EndReason.revoked):
        raise NotFound("You have no such session.")


async def end_all(ctx: Context, *, force: bool) -> None:
    """Ends all sessions of the caller's, of both contracts, on every node, and with them what was begun in one.

    Claims and links that are out die, but for a user without login address: theirs are the only way back.

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
        is_done = await store.end_all_sessions(
            tx,
            caller.brand_id,
            caller.user_id,
            password_login=features.password_login,
            magic_login=features.magic_login,
            force=force,
        )
        if is_done:
            await claims.withdraw(tx, caller.brand_id, caller.user_id)
            await audit.record(tx, event)
        return is_done

    if not await ctx.db.run(end):
        raise NoLoginMethod


async def _end(ctx: Context, brand_id: str, user_id: str, session_id: str, reason: EndReason) -> bool:
    now = ctx.now()

    async def end(tx: Tx) -> bool:
        if reason in THROWN_OUT:
            # Before the session is touched: all who end sessions lock the user first, and it may be claiming just now.
            await claims.lock_addresses(tx, brand_id, user_id)
        is_ended = await sessions.end_own(tx, brand_id, user_id, session_id, reason, now)
        if is_ended:
            if reason in THROWN_OUT:
                await claims.withdraw_of_session(tx, brand_id, user_id, session_id)
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
