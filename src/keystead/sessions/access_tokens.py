"""Issue and verify the access tokens of sessions (JWT). Security §1, §3."""

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
    """Issue an access token, signed with the active key. Call it after the commit of the session.

    ``lifetime`` is in seconds; ``not_after`` is the expiry of the refresh token, which no access token outlives.

    :raises ValueError: when ``not_after`` leaves less than a second.
    """
    issued_at = int(now.timestamp())
    expires_at = issued_at + lifetime
    if not_after is not None:
        expires_at = min(expires_at, int(not_after.timestamp()))
    claims = Claims(brand_id, user_id, session_id, issued_at, expires_at, new_id(now))
    return jwt.sign(server.keyring.active, claims, server.settings.base_url)


def has_time_left(not_after: datetime | None, now: datetime) -> bool:
    """Return whether an access token that expires by ``not_after`` would live for a second: its times are whole."""
    return not_after is None or not_after >= now + timedelta(seconds=1)


def verify(server: Server, raw: str, now: datetime) -> Claims | None:
    """The claims of a valid access token, else None. Signatures of verified tokens are cached.

    Every call checks the expiry and that the signing key is still accepted; the caller checks the session's row.
    """
    return server.token_cache.verify(raw, server.keyring.verifying, server.settings.base_url, now)


def names_unknown_key(server: Server, raw: str) -> bool:
    """Return whether the token may be signed by a key that this process has not loaded yet."""
    return jwt.names_unknown_key(raw, server.keyring.verifying)
