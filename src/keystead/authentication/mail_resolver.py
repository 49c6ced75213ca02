"""What comes of requests for mailed links, decided by the mail worker: a link, a notice, or nothing.

Apart from the requests (``mail_requests``), so that how long one of those takes tells nothing of the address. Times are
those of the request: limits count, and links end, as if it had been decided on immediately.

    one transaction for each request: lock the user, remove the request, count the recipient's mails, bind a token,
    write the mail, write the audit row
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import structlog

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.authentication.claiming.claimers import lock_standing
from keystead.authentication.correspondence import Correspondence, came_from, correspondence_of
from keystead.authentication.proof_requests import ask_for_proof
from keystead.brands import service as brands
from keystead.context import Server
from keystead.db.engine import Tx
from keystead.errors import InternalError, ServiceUnavailable
from keystead.mail.model import MailKind
from keystead.mail.requests import store
from keystead.mail.requests.model import Asked, MailRequest, open_
from keystead.sessions.model import Device
from keystead.users.claims.model import Addresses
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import service as one_time_tokens
from keystead.users.one_time_tokens.model import TokenPurpose

BATCH = 100
GIVE_UP_AFTER = timedelta(hours=1)
"""A request that cannot be decided on for so long is dropped: its link would be over, or its reader gone."""

_PURPOSES = {
    MailKind.magic_login: TokenPurpose.login,
    MailKind.reset_password: TokenPurpose.reset,
    MailKind.verify_email: TokenPurpose.verify,
    MailKind.change_email: TokenPurpose.claim,
}

_log = structlog.get_logger("keystead.mail")


async def resolve_all(server: Server) -> int:
    """Decides on every request there is, the oldest first; how many. One that fails holds up no other."""
    resolved, after = 0, ""
    while True:
        batch = await store.list_requests(server.db.reads, after, BATCH)
        for request in batch:
            resolved += await _resolve_or_log(server, request)
        if len(batch) < BATCH:
            return resolved
        after = batch[-1].id


async def _resolve_or_log(server: Server, request: MailRequest) -> bool:
    try:
        return await _resolve(server, request)
    except ServiceUnavailable:
        # The database's trouble, and not this request's: the round ends, and all of them wait for the next.
        raise
    except Exception as error:
        _log.warning("mail_request_not_decided", request=request.id, brand=request.brand_id, exc_info=error)
    if server.clock.now() - request.asked_at > GIVE_UP_AFTER:
        return await server.db.run(lambda tx: store.take(tx, request.brand_id, request.id))
    return False


async def _resolve(server: Server, request: MailRequest) -> bool:
    asked = open_(server.master_key, request)
    brand = await brands.find_brand(server.db.reads, request.brand_id)
    correspondence = None
    if brand is not None and not brand.is_disabled:
        correspondence = correspondence_of(server, brand, asked.languages, request.asked_at)

    async def resolve(tx: Tx) -> bool:
        # The user's row first, as whatever changes a user does.
        standing = await lock_standing(tx, request.brand_id, request.user_id) if request.user_id else None
        if not await store.take(tx, request.brand_id, request.id):
            return False
        if correspondence is None:
            event = _refused(asked.event, "brand_disabled")
        elif request.user_id is None:
            event = await _to_login(tx, correspondence, asked)
        else:
            event = await _to_prove(tx, correspondence, asked, request.user_id, standing)
        await audit.record(tx, event)
        return True

    return await server.db.run(resolve)


async def _to_login(tx: Tx, correspondence: Correspondence, asked: Asked) -> AuditEvent:
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
    tx: Tx, correspondence: Correspondence, asked: Asked, user_id: str, standing: Addresses | None
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
