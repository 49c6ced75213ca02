"""Ending sessions: one's own, another of one's own, or all of them. Contract §2, §3."""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.authentication import store
from keystead.context import Context, UserPrincipal
from keystead.db.engine import Tx
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
    """Ends the caller's session; its access tokens are refused from the next request on."""
    caller = signed_in_user(ctx)
    # It was alive when the request was authenticated; that somebody else has ended it since is as good.
    await _end(ctx, caller, caller.session_id, EndReason.logout)


async def revoke_session(ctx: Context, session_id: str) -> None:
    """Ends a session of the caller's; an address that it has claimed is claimed no more, and its links are dead.

    :raises NotFound: when they have no such session, or it is over.
    """
    if not await _end(ctx, signed_in_user(ctx), session_id, EndReason.revoked):
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


async def _end(ctx: Context, caller: UserPrincipal, session_id: str, reason: EndReason) -> bool:
    now = ctx.now()

    async def end(tx: Tx) -> bool:
        if reason in THROWN_OUT:
            # Before the session is touched: all who end sessions lock the user first, and it may be claiming just now.
            await claims.lock_addresses(tx, caller.brand_id, caller.user_id)
        is_ended = await sessions.end_own(tx, caller.brand_id, caller.user_id, session_id, reason, now)
        if is_ended:
            if reason in THROWN_OUT:
                await claims.withdraw_of_session(tx, caller.brand_id, caller.user_id, session_id)
            event = audit.describe(
                ctx,
                "session.ended",
                brand_id=caller.brand_id,
                reason=reason.value,
                subject_id=caller.user_id,
                session_id=session_id,
            )
            await audit.record(tx, event)
        return is_ended

    return await ctx.db.run(end)
