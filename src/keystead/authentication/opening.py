"""A session that has just been opened: what the audit log says of it, and its first access token."""

from __future__ import annotations

from keystead.audit import service as audit
from keystead.audit.model import AuditEvent
from keystead.context import ActiveBrand, Context
from keystead.installation import keyring_updates
from keystead.policy import SessionKind
from keystead.sessions import access_tokens
from keystead.sessions.model import EndReason, Opened


def events(ctx: Context, opened: Opened, kind: SessionKind, **details: str) -> list[AuditEvent]:
    """That it was opened, and which sessions had to make room. ``details`` are told besides its kind."""

    def describe(event: str, session_id: str, reason: str | None = None) -> AuditEvent:
        return audit.describe(
            ctx,
            event,
            brand_id=opened.brand_id,
            reason=reason,
            subject_id=opened.user_id,
            session_id=session_id,
            details={"kind": kind.value, **details},
        )

    made_room = [describe("session.ended", ended, EndReason.limit.value) for ended in opened.ended]
    return [describe("session.opened", opened.session_id), *made_room]


async def first_access_token(ctx: Context, brand: ActiveBrand, opened: Opened) -> str:
    """The access token that a pair session begins with. To be called after the commit."""
    await keyring_updates.sign_with(ctx.server, opened.keyring_version)
    return access_tokens.issue(
        ctx.server,
        opened.brand_id,
        opened.user_id,
        opened.session_id,
        brand.policy.access_ttl,
        ctx.now(),
        not_after=opened.expires_at,
    )
