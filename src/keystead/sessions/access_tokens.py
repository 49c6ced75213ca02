"""Access tokens of sessions: what goes into one, and how long it lives. Security §1, §3."""

from __future__ import annotations

from datetime import datetime, timedelta

from keystead.context import Server
from keystead.crypto import jwt
from keystead.crypto.jwt import Claims
from keystead.ids import new_id


def issue(
    server: Server,
    brand_id: str,
    user_id: str,
    session_id: str,
    lifetime: int,
    now: datetime,
    *,
    not_after: datetime | None = None,
) -> str:
    """A new access token, signed with the active key.

    ``lifetime`` is in seconds; ``not_after`` is the end of the refresh token, which no access token outlives.
    To be called after the commit: what it speaks of must be on record.

    :raises ValueError: when ``not_after`` leaves less than a second.
    """
    issued_at = int(now.timestamp())
    expires_at = issued_at + lifetime
    if not_after is not None:
        expires_at = min(expires_at, int(not_after.timestamp()))
    claims = Claims(brand_id, user_id, session_id, issued_at, expires_at, new_id(now))
    return jwt.sign(server.keyring.active, claims, server.settings.base_url)


def has_time_left(not_after: datetime | None, now: datetime) -> bool:
    """Whether an access token that ends by ``not_after`` would live for a second: its times are whole seconds."""
    return not_after is None or not_after >= now + timedelta(seconds=1)


def verify(server: Server, raw: str, now: datetime) -> Claims | None:
    """The claims of a good access token, else None; one that was found good before is not verified again.

    Each time its expiry is checked and that its key is still accepted. Its session's row is the caller's to read.
    """
    return server.token_cache.verify(raw, server.keyring.verifying, server.settings.base_url, now)


def names_unknown_key(server: Server, raw: str) -> bool:
    """Whether the token may have been signed by a key that this process has not loaded yet."""
    return jwt.names_unknown_key(raw, server.keyring.verifying)
