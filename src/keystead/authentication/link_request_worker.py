"""Process requests for mailed links in the mail worker: send a link, a notice, or nothing.

Separate from the requests (``link_requests``), so that the time of a request reveals nothing about the address. Rate
limits count, and links expire, from the time of the request.

    one transaction for up to fifty requests: lock the users; for each request delete it, check the recipient's rate
    limit, issue a token, enqueue the mail, write the audit row

Brands take turns (round-robin), and within a brand the networks that requests came from: a flood delays no others.
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
from keystead.authentication.email_change_steps import lock_addresses
from keystead.authentication.link_requests import send_verification
from keystead.authentication.notifications import MailContext, came_from, mail_context_of
from keystead.brands.store import find_brand
from keystead.context import Server
from keystead.db.interface import Tx
from keystead.db.slices import SliceSize
from keystead.errors import InternalError
from keystead.mail import request_store
from keystead.mail.model import MailKind
from keystead.mail.requests import MailRequest, RequestContent, unseal_content
from keystead.sessions.model import Device
from keystead.users.email_addresses import EmailAddress
from keystead.users.model import Addresses
from keystead.users.one_time_tokens import store as tokens
from keystead.users.one_time_tokens.model import TokenPurpose

LARGEST_BATCH = 50
"""The most requests per transaction: waiting for SQLite's writer is worth many."""
RETRY_AFTER = timedelta(seconds=10)
GIVE_UP_AFTER = timedelta(hours=1)
"""A request that fails for so long is dropped: its link would have expired, or its reader given up."""

_PURPOSES = {
    MailKind.magic_login: TokenPurpose.login,
    MailKind.reset_password: TokenPurpose.reset,
    MailKind.verify_email: TokenPurpose.verify,
    MailKind.change_email: TokenPurpose.claim,
}

_log = structlog.get_logger("keystead.mail")


@dataclass(frozen=True, slots=True)
class _Unsealed:
    """A request ready to be processed; ``mails`` is None where its brand is disabled or deleted."""

    request: MailRequest
    asked: RequestContent
    mails: MailContext | None


async def process_all(server: Server, seconds: float = 60.0, turns: RoundRobin | None = None) -> int:
    """Process every request that is due, for at most ``seconds``; return how many. One that fails delays no others.

    ``turns`` keeps the position of the round-robin between calls.
    """
    turns = turns or RoundRobin(server)
    size, processed, end = SliceSize(), 0, time.monotonic() + seconds
    while time.monotonic() < end and (batch := await turns.next_batch(min(size.rows, LARGEST_BATCH))):
        try:
            processed += await _process(server, batch, size)
        except Exception:
            for request in batch:
                processed += await _process_or_postpone(server, request, size)
                if time.monotonic() >= end:  # a lease of this process ends soon after
                    break
    return processed


class RoundRobin:
    """Round-robin over brands, and within each over networks."""

    def __init__(self, server: Server) -> None:
        self._reads, self._clock = server.db.reads, server.clock
        self._after: dict[str, str] = {}

    async def next_batch(self, rows: int) -> list[MailRequest]:
        """Up to ``rows`` requests, equally many per brand, and within it per network. Empty when none is due."""
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
    list_after: Callable[[str], Awaitable[list[str]]], after: dict[str, str], of: str, most: int
) -> list[str]:
    """The next page of a list, starting over at its end; ``after`` keeps the position."""
    found = await list_after(after.get(of, "")) or await list_after("")
    after[of] = found[-1] if len(found) == most else ""
    return found


async def _process_or_postpone(server: Server, request: MailRequest, size: SliceSize) -> int:
    try:
        return await _process(server, [request], size)
    except Exception as error:
        now = server.clock.now()
        if request.due_at == request.asked_at:
            _log.warning("mail_request_not_decided", request=request.id, brand=request.brand_id, exc_info=error)
    # If the database is what fails, this fails too, and ends the round.
    if now - request.asked_at > GIVE_UP_AFTER:
        return await server.db.run(lambda tx: request_store.take(tx, request.brand_id, request.id))
    await server.db.run(lambda tx: request_store.postpone(tx, request.brand_id, request.id, now + RETRY_AFTER))
    return 0


async def _process(server: Server, requests: list[MailRequest], size: SliceSize) -> int:
    opened = [await _open(server, request) for request in requests]
    # Recipients are locked in one order, except look-alikes of a login: run() retries after a deadlock there.
    opened.sort(key=lambda one: (one.request.brand_id, one.asked.canonical, one.request.id))
    users = sorted({(request.brand_id, request.user_id) for request in requests if request.user_id})

    async def process(tx: Tx) -> int:
        started = time.perf_counter()
        # Lock order: the users' rows first, as in every change of a user.
        addresses = {user_id: await lock_addresses(tx, brand_id, user_id) for brand_id, user_id in users}
        processed = sum([await _decide(tx, one, addresses) for one in opened])
        size.note((time.perf_counter() - started) * size.rows / len(opened))
        return processed

    return await server.db.run(process)


async def _open(server: Server, request: MailRequest) -> _Unsealed:
    asked = unseal_content(server.master_key, request)
    brand = await find_brand(server.db.reads, request.brand_id)
    if brand is None or brand.is_disabled:
        return _Unsealed(request, asked, None)
    return _Unsealed(request, asked, mail_context_of(server, brand, asked.languages, request.asked_at))


async def _decide(tx: Tx, opened: _Unsealed, addresses: Mapping[str, Addresses | None]) -> bool:
    request, asked, mails = opened.request, opened.asked, opened.mails
    if not await request_store.take(tx, request.brand_id, request.id):
        return False
    if mails is None:
        event = _rejected(asked.event, "brand_disabled")
    elif request.user_id is None:
        event = await _send_to_login(tx, mails, asked)
    else:
        event = await _send_verification(tx, mails, asked, request.user_id, addresses[request.user_id])
    await audit.record(tx, event)
    return True


async def _send_to_login(tx: Tx, mails: MailContext, asked: RequestContent) -> AuditEvent:
    """Mail a link to the user who logs in with the address, at the address as it is stored.

    Nothing to a disabled user, nor within a minute of the last mail, nor as the sixth in an hour: then the older link
    stays valid.
    """
    brand_id, now, purpose = mails.brand.id, mails.now, _PURPOSES[asked.kind]
    draft = mails.draft(asked.kind)
    if draft.secret is None:
        raise InternalError(cause=f"a {asked.kind} mail carries no link")
    if not await mails.may_send(tx, asked.canonical):
        return _rejected(asked.event, "rate_limited")
    token = await tokens.issue_to_login(tx, brand_id, asked.canonical, purpose, draft.secret, now)
    if token is None:
        return _rejected(asked.event, "unknown_address")
    await mails.send(
        tx,
        draft,
        token.user_id,
        token.email,
        asked.canonical,
        expires_at=token.expires_at,
        shown=came_from(_device(asked.event)),
    )
    return msgspec.structs.replace(asked.event, subject_id=token.user_id)


async def _send_verification(
    tx: Tx, mails: MailContext, asked: RequestContent, user_id: str, found: Addresses | None
) -> AuditEvent:
    """Mail a verification link to the user's address, or a notice to its owner."""
    event = msgspec.structs.replace(asked.event, subject_id=user_id)
    address = _address_to_verify(found, asked.canonical)
    if address is None:
        return _rejected(event, "overtaken")
    purpose = _PURPOSES[asked.kind]
    result = await send_verification(tx, mails, user_id, address, purpose, _device(asked.event))
    return event if result.reason is None else _rejected(event, result.reason)


def _address_to_verify(found: Addresses | None, canonical: str) -> EmailAddress | None:
    """The address, if it is still pending or an unverified login."""
    if found is None:
        return None
    if found.is_pending(canonical):
        return found.pending
    return found.login if found.is_unverified_login(canonical) else None


def _rejected(event: AuditEvent, reason: str) -> AuditEvent:
    return msgspec.structs.replace(event, outcome="refused", reason=reason)


def _device(event: AuditEvent) -> Device:
    return Device(event.ip_prefix, event.user_agent)
