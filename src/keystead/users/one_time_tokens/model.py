"""What a one-time token is for and how long it lives."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from keystead.crypto.secrets import SecretKind


class TokenPurpose(StrEnum):
    """What the holder of a token may do, once."""

    verify = "verify"
    """Prove an address."""
    claim = "claim"
    """Prove an address and log in: ``changeEmailMagically``."""
    login = "login"
    """Log in."""
    handed_over = "handed_over"
    """Log in, once more: what a hosted page hands to the brand's app for a token to log in or to claim."""
    reset = "reset"
    """Set a new password."""


KINDS: dict[TokenPurpose, SecretKind] = {
    TokenPurpose.verify: SecretKind.verify,
    TokenPurpose.claim: SecretKind.magic,
    TokenPurpose.login: SecretKind.magic,
    TokenPurpose.handed_over: SecretKind.magic,
    TokenPurpose.reset: SecretKind.reset,
}

LIFETIMES: dict[SecretKind, timedelta] = {
    SecretKind.verify: timedelta(hours=24),
    SecretKind.magic: timedelta(minutes=10),
    SecretKind.reset: timedelta(minutes=30),
}
"""How long the token in a mailed link lives."""

HANDED_OVER = timedelta(minutes=2)
"""How long a token lives that a hosted page hands to the brand's app."""


class OneTimeToken(msgspec.Struct, frozen=True):
    """What a token is bound to. Its kind follows from its purpose."""

    brand_id: str
    user_id: str
    purpose: TokenPurpose
    email: str
    email_canonical: str
    email_skeleton: str
    created_at: datetime
    expires_at: datetime
