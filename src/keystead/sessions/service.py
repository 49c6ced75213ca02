"""Open and list sessions, and record their use."""

from __future__ import annotations

from datetime import datetime

from keystead.context import ActiveBrand, Context, RequestDetails, Server, UserPrincipal
from keystead.db.interface import Tx
from keystead.ids import new_id
from keystead.pagination import Page, PageRequest
from keystead.policy import SessionKind
from keystead.sessions import store
from keystead.sessions.model import Device, Opened, SessionRow
from keystead.sessions.rotation import RotationKeys, issue_first, lifetime_end
from keystead.users import login_store

LONGEST_USER_AGENT = 200


def device(request: RequestDetails) -> Device:
    """What a session stores of the request that opened it."""
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in request.user_agent)
    return Device(request.address_prefix or None, shown[:LONGEST_USER_AGENT] or None)


async def open_session(
    tx: Tx,
    brand: ActiveBrand,
    user_id: str,
    kind: SessionKind,
    opened_from: Device,
    keys: RotationKeys,
    now: datetime,
    *,
    password_hash: str | None,
) -> Opened | None:
    """Open a session with the user's current epoch; None when the user may not log in.

    ``password_hash`` is the hash that the password was verified against: None is returned when it is no longer the
    user's (security §3, "Login, closing step"). It is None only where no password is asked for. A user has at most
    ``max_sessions`` pair sessions: the oldest ones are ended.
    """
    admitted = await login_store.admit(tx, brand.id, user_id, password_hash, now)
    if admitted is None:
        return None
    epoch, keyring_version = admitted
    session_id = new_id(now)
    await store.insert_session(tx, brand.id, user_id, session_id, kind, epoch, opened_from, now)
    expires_at = lifetime_end(kind, brand.policy, now)
    secret = await issue_first(tx, brand.id, session_id, expires_at, keys, now)
    ended: tuple[str, ...] = ()
    if kind is SessionKind.pair:
        ended = await store.end_surplus(tx, brand.id, user_id, epoch, brand.policy.max_sessions, now)
    return Opened(brand.id, user_id, session_id, secret, expires_at, keyring_version, ended)


def note_use(server: Server, brand_id: str, session_id: str, used_at: datetime, now: datetime) -> None:
    """Note that a session is in use; ``used_at`` is its last recorded use. :func:`write_uses` writes it later."""
    server.session_uses.note(brand_id, session_id, used_at, now)


async def write_uses(server: Server) -> None:
    """Write ``last_used_at`` of the sessions in use.

    :raises ServiceUnavailable: when the database is unavailable; then every noted use is kept.
    """
    await server.session_uses.write(server.db, store.touch_session, server.clock.now())


async def list_own(ctx: Context, caller: UserPrincipal, request: PageRequest, *, with_total: bool) -> Page[SessionRow]:
    """One page of the caller's sessions that can still be used, newest first."""
    now, reads = ctx.now(), ctx.db.scans
    rows = await store.list_own_sessions(reads, caller.brand_id, caller.user_id, now, request.probe, request.offset)
    total = await store.count_own_sessions(reads, caller.brand_id, caller.user_id, now) if with_total else None
    return Page.cut(rows, request, total)
