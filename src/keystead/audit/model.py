"""Audit events: their form, and the list of all events. Security §16."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

Outcome = Literal["success", "refused"]

EVENTS: dict[str, str] = {
    "api_key.created": "an API key was made",
    "api_key.deleted": "an API key was deleted and is refused from now on",
    "api_key.rotated": "an API key was given a new secret",
    "api_key.updated": "the name, permissions, origins or expiry of an API key were changed",
    "brand.created": "a brand was made",
    "brand.disabled": "a brand was disabled: no user can sign in to it and no key works",
    "brand.enabled": "a disabled brand was opened again",
    "brand.updated": "the features, policy or addresses of a brand were changed",
    "brand_token.issued": "a brand token was made",
    "brand_token.revoked": "a brand token was revoked",
    "email_claim.refused": "a new address was not taken: the password was wrong or missing",
    "entity.defined": "an entity was added or its definition changed",
    "entity.deleted": "an entity was deleted, with its records; the details list the grants that ended with it",
    "key.revoked": "a signing key was dropped immediately",
    "key.rotated": "a new signing key was made, to take over from the one in use",
    "login.refused": "a login failed; the reason says why, for the log alone",
    "magic_link.handed_over": "a hosted page used a mailed link up for a token that the brand's app redeems",
    "mail.requested": "a mailed link was requested; the reason says whether none was sent, and why",
    "mail.retried": "a mail that had been given up was put back to be delivered",
    "mail_template.changed": "a brand's own wording of a mail was set",
    "mail_template.removed": "a brand's own wording of a mail was removed",
    "password_change.refused": "a password was not changed: the old one was wrong or missing",
    "permission.refused": "a caller tried an operation that their permissions or the brand's features do not allow",
    "role.defined": "a role was made or its permissions changed",
    "role.deleted": "a role was deleted and taken from its users",
    "session.all_ended": "all sessions of a user were ended",
    "session.ended": "one session was ended",
    "session.opened": "a user signed in",
    "session.refreshed": "a refresh token was rotated",
    "session.reuse_detected": "a rotated refresh token came back too late; the session was ended",
    "user.created": "an administrator made a user",
    "user.deleted": "a user was deleted",
    "user.disabled": "a user was disabled and all their sessions ended",
    "user.email_claimed": "a user named an address that is theirs once it is proved",
    "user.email_granted": "a user was given a login address without proof, as the brand asks for none",
    "user.email_proved": "the owner of an address proved it: it is the user's login",
    "user.enabled": "a disabled user may sign in again",
    "user.password_changed": "a user's password was changed",
    "user.password_reset": "a user set a new password by a mailed link; all their sessions ended",
    "user.signed_up": "a user made themselves, anonymous at first",
    "user.updated": "the name, roles or permissions of a user were changed",
}
"""Every event with a description."""


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An audit event. No field holds a secret, a digest or a full address."""

    id: str
    brand_id: str
    """The brand concerned; events of the installation as a whole belong to the reserved brand."""
    at: datetime
    event: str
    outcome: Outcome
    reason: str | None = None
    actor_kind: str
    """``anonymous``, ``user``, ``api_key``, ``brand_token`` or ``system``."""
    actor_id: str | None = None
    subject_id: str | None = None
    """The id of the user, key, brand, ... concerned."""
    session_id: str | None = None
    key_id: str | None = None
    ip_prefix: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    details: dict[str, Any] | None = None
