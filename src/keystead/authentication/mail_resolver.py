"""What comes of requests for mailed links, decided by the mail worker: a link, a notice, or nothing.

Apart from the requests (``mail_requests``), so that how long one of those takes tells nothing of the address. Times are
those of the request: limits count, and links end, as if it had been decided on immediately.

    one transaction for up to fifty requests: lock the users; for each request remove it, count the recipient's mails,
    bind a token, write the mail, write the audit row

Brands take turns, and within a brand the networks that requests came from: a flood delays no others.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import structlog

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication.claiming.claimers import lock_standing
from keystead.authentication.correspondence import Correspondence, came_from, correspondence_of
from keystead.authentication.proof_requests import ask_for_proof
from keystead.brands.store import find_brand
from keystead.context import Server
from keystead.db.interface import Tx
from keystead.db.slices import SliceSize
from keystead.errors import InternalError
from keystead.mail import request_store
from keystead.mail.model import MailKind
from keystead.mail.requests import MailRequest, RequestContent, unseal_content
from keystead.sessions.model import Device
from keystead.users.claims.model import Addresses
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import service as one_time_tokens
from keystead.users.one_time_tokens.model import TokenPurpose

MOST_AT_ONCE = 50
"""Requests that are decided on in one transaction, at most: a turn in the queue for SQLite's writer is worth many."""
RETRY_AFTER = timedelta(seconds=10)
GIVE_UP_AFTER = timedelta(hours=1)
"""A request that cannot be decided on for so long is dropped: its link would be over, or its reader gone."""

_PURPOSES = {
    MailKind.magic_login: TokenPurpose.login,
    MailKind.reset_password: TokenPurpose.reset,
    MailKind.verify_email: TokenPurpose.verify,
    MailKind.change_email: TokenPurpose.claim,
}

_log = structlog.get_logger("keystead.mail")


@dataclass(frozen=True, slots=True)
class _Opened:
    """A request that is ready to be decided on; no correspondence where its brand writes no mails."""

    request: MailRequest
    asked: RequestContent
    correspondence: Correspondence | None


async def resolve_all(server: Server, seconds: float = 60.0, turns: Turns | None = None) -> int:
    """Decides on every request that is due, until ``seconds`` are over; how many. One that fails holds up no other.

    ``turns`` keeps whose requests come next from one call to the following.
    """
    turns = turns or Turns(server)
    size, resolved, end = SliceSize(), 0, time.monotonic() + seconds
    while time.monotonic() < end and (batch := await turns.next_batch(min(size.rows, MOST_AT_ONCE))):
        try:
            resolved += await _resolve(server, batch, size)
        except Exception:
            for request in batch:
                resolved += await _resolve_or_postpone(server, request, size)
                if time.monotonic() >= end:  # a lease of this process ends soon after
                    break
    return resolved


class Turns:
    """Whose requests come next: each brand, and in it each network, in turn."""

    def __init__(self, server: Server) -> None:
        self._reads, self._clock = server.db.reads, server.clock
        self._after: dict[str, str] = {}

    async def next_batch(self, rows: int) -> list[MailRequest]:
        """Up to ``rows`` requests: as many of each brand, and in it of each network. Empty when none is due."""
        now, batch = self._clock.now(), list[MailRequest]()

        async def brand_ids(after: str) -> list[str]:
            return await request_store.list_brands(self._reads, after, rows, now)

        found = await _next(brand_ids, self._after, "", rows)
        for brand_id in found:
            share = rows // len(found)

            async def sources(after: str, brand_id: str = brand_id, share: int = share) -> list[str]:
                return await request_store.list_sources(self._reads, brand_id, after, share, now)

            networks = await _next(sources, self._after, brand_id, share)
            for source in networks:
                batch += await request_store.list_requests(self._reads, brand_id, source, share // len(networks), now)
        return batch


async def _next(
    list_behind: Callable[[str], Awaitable[list[str]]], after: dict[str, str], of: str, most: int
) -> list[str]:
    """The next of a list that is gone through again and again; ``after`` keeps where it was left."""
    found = await list_behind(after.get(of, "")) or await list_behind("")
    after[of] = found[-1] if len(found) == most else ""
    return found


async def _resolve_or_postpone(server: Server, request: MailRequest, size: SliceSize) -> int:
    try:
        return await _resolve(server, [request], size)
    except Exception as error:
        now = server.clock.now()
        if request.due_at == request.asked_at:
            _log.warning("mail_request_not_decided", request=request.id, brand=request.brand_id, exc_info=error)
    # Where it is the database that fails, this does, too, and ends the round.
    if now - request.asked_at > GIVE_UP_AFTER:
        return await server.db.run(lambda tx: request_store.take(tx, request.brand_id, request.id))
    await server.db.run(lambda tx: request_store.postpone(tx, request.brand_id, request.id, now + RETRY_AFTER))
    return 0


async def _resolve(server: Server, requests: list[MailRequest], size: SliceSize) -> int:
    opened = [await _open(server, request) for request in requests]
    # Recipients are locked in one order, but for look-alikes of a login: a deadlock there is ended, and run() repeats.
    opened.sort(key=lambda one: (one.request.brand_id, one.asked.canonical, one.request.id))
    users = sorted({(request.brand_id, request.user_id) for request in requests if request.user_id})

    async def resolve(tx: Tx) -> int:
        started = time.perf_counter()
        # The users' rows first, as whatever changes a user does.
        standings = {user_id: await lock_standing(tx, brand_id, user_id) for brand_id, user_id in users}
        resolved = sum([await _decide(tx, one, standings) for one in opened])
        size.note((time.perf_counter() - started) * size.rows / len(opened))
        return resolved

    return await server.db.run(resolve)


async def _open(server: Server, request: MailRequest) -> _Opened:
    asked = unseal_content(server.master_key, request)
    brand = await find_brand(server.db.reads, request.brand_id)
    if brand is None or brand.is_disabled:
        return _Opened(request, asked, None)
    return _Opened(request, asked, correspondence_of(server, brand, asked.languages, request.asked_at))


async def _decide(tx: Tx, opened: _Opened, standings: Mapping[str, Addresses | None]) -> bool:
    request, asked, correspondence = opened.request, opened.asked, opened.correspondence
    if not await request_store.take(tx, request.brand_id, request.id):
        return False
    if correspondence is None:
        event = _refused(asked.event, "brand_disabled")
    elif request.user_id is None:
        event = await _to_login(tx, correspondence, asked)
    else:
        event = await _to_prove(tx, correspondence, asked, request.user_id, standings[request.user_id])
    await audit.record(tx, event)
    return True


async def _to_login(tx: Tx, correspondence: Correspondence, asked: RequestContent) -> AuditEvent:
    """Mails a link to the user who logs in with the address, at the address as it is stored.

    Nothing to a disabled user, nor within a minute of the last mail, nor as the sixth in an hour: then the older link
    stays good.
    """
    brand_id, now, purpose = correspondence.brand.id, correspondence.now, _PURPOSES[asked.kind]
    draft = correspondence.draft(asked.kind)
    if draft.secret is None:
        raise InternalError(cause=f"a {asked.kind} mail carries no link")
    if not await correspondence.may_send(tx, asked.canonical):
        return _refused(asked.event, "rate_limited")
    token = await one_time_tokens.issue_to_login(tx, brand_id, asked.canonical, purpose, draft.secret, now)
    if token is None:
        return _refused(asked.event, "unknown_address")
    await correspondence.send(
        tx,
        draft,
        token.user_id,
        token.email,
        asked.canonical,
        expires_at=token.expires_at,
        shown=came_from(_device(asked.event)),
    )
    return msgspec.structs.replace(asked.event, subject_id=token.user_id)


async def _to_prove(
    tx: Tx, correspondence: Correspondence, asked: RequestContent, user_id: str, standing: Addresses | None
) -> AuditEvent:
    """Mails a link to the address that the user has claimed, or a notice to its owner."""
    event = msgspec.structs.replace(asked.event, subject_id=user_id)
    address = _open_address(standing, asked.canonical)
    if address is None:
        return _refused(event, "overtaken")
    purpose = _PURPOSES[asked.kind]
    result = await ask_for_proof(tx, correspondence, user_id, address, purpose, _device(asked.event))
    return event if result.reason is None else _refused(event, result.reason)


def _open_address(standing: Addresses | None, canonical: str) -> EmailAddress | None:
    """The address, if it waits for the user's proof still."""
    if standing is None:
        return None
    if standing.is_claim_on(canonical):
        return standing.pending
    return standing.login if standing.is_unproved_login(canonical) else None


def _refused(event: AuditEvent, reason: str) -> AuditEvent:
    return msgspec.structs.replace(event, outcome="refused", reason=reason)


def _device(event: AuditEvent) -> Device:
    return Device(event.ip_prefix, event.user_agent)
