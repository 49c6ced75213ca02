"""Audit log: an event is written in the transaction of the change it reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keystead.audit import store
from keystead.audit.model import EVENTS, AuditEvent, Outcome
from keystead.context import (
    RESERVED_BRAND_ID,
    Anonymous,
    ApiKeyPrincipal,
    BrandTokenPrincipal,
    Context,
    Principal,
    System,
    UserPrincipal,
)
from keystead.db.interface import Tx
from keystead.ids import new_id
from keystead.pagination import Page, PageRequest

LONGEST_USER_AGENT = 200


def describe(
    ctx: Context,
    event: str,
    *,
    brand_id: str | None = None,
    outcome: Outcome = "success",
    reason: str | None = None,
    subject_id: str | None = None,
    session_id: str | None = None,
    key_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Build an event for :func:`record`; actor, origin and time come from ``ctx``.

    ``brand_id`` is by default the brand of the request, else the reserved brand. ``session_id`` and ``key_id`` are by
    default those of the caller.
    """
    actor_kind, actor_id, acting_session, acting_key = _actor(ctx.principal)
    now = ctx.now()
    return AuditEvent(
        id=new_id(now),
        brand_id=brand_id or (ctx.brand.id if ctx.brand else RESERVED_BRAND_ID),
        at=now,
        event=event,
        outcome=outcome,
        reason=reason,
        actor_kind=actor_kind,
        actor_id=actor_id,
        subject_id=subject_id,
        session_id=session_id or acting_session,
        key_id=key_id or acting_key,
        ip_prefix=ctx.request.address_prefix or None,
        user_agent=_printable(ctx.request.user_agent)[:LONGEST_USER_AGENT] or None,
        request_id=ctx.request.id or None,
        details=dict(details) if details else None,
    )


async def record(tx: Tx, event: AuditEvent) -> None:
    """Write an event in the transaction of the change that it reports, atomically.

    :raises ValueError: for an unknown event name.
    """
    if event.event not in EVENTS:
        raise ValueError(f"'{event.event}' is not in the list of audit events")
    await store.insert_event(tx, event.brand_id, event)


async def record_alone(ctx: Context, event: AuditEvent) -> None:
    """Write an event without a change, such as a denied operation.

    :raises ValueError: for an unknown event name.
    """
    async with ctx.db.transaction() as tx:
        await record(tx, event)


async def list_events(
    ctx: Context, brand_id: str, request: PageRequest, *, with_total: bool = False
) -> Page[AuditEvent]:
    """Return one page of the brand's events, newest first."""
    rows = await store.list_events(ctx.db.scans, brand_id, request.probe, request.offset)
    total = await store.count_events(ctx.db.scans, brand_id) if with_total else None
    return Page.cut(rows, request, total)


def _actor(principal: Principal) -> tuple[str, str | None, str | None, str | None]:
    """Return kind and id of the actor, and the session and API key in use."""
    match principal:
        case UserPrincipal():
            return "user", principal.user_id, principal.session_id, principal.key_id
        case ApiKeyPrincipal():
            return "api_key", principal.key_id, None, principal.key_id
        case BrandTokenPrincipal():
            return "brand_token", principal.token_id, None, None
        case System():
            return "system", None, None, None
        case Anonymous():
            return "anonymous", None, None, None


def _printable(text: str) -> str:
    """Replace characters that do not print, as the text is shown to people and stored as UTF-8."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
