"""Purposes and lifetimes of one-time tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from keystead.crypto.secrets import SecretKind
from keystead.users.email_addresses import EmailAddress


class TokenPurpose(StrEnum):
    """What the holder of a token may do, once."""

    verify = "verify"
    """Verify an address."""
    claim = "claim"
    """Verify an address and log in: ``changeEmailMagically``."""
    login = "login"
    """Log in."""
    handed_over = "handed_over"
    """Log in: what a hosted page gives the brand's app in exchange for a mailed token."""
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

_HANDED_OVER_LIFETIME = timedelta(minutes=2)

VERIFYING = (TokenPurpose.verify, TokenPurpose.claim)
"""The purposes that verify an address."""


def lifetime_end(purpose: TokenPurpose, now: datetime) -> datetime:
    """When a token that is issued now expires."""
    return now + (_HANDED_OVER_LIFETIME if purpose is TokenPurpose.handed_over else LIFETIMES[KINDS[purpose]])


class OneTimeToken(msgspec.Struct, frozen=True):
    """What a token is bound to; its purpose determines its kind of secret."""

    brand_id: str
    user_id: str
    purpose: TokenPurpose
    email: str
    email_canonical: str
    email_skeleton: str
    created_at: datetime
    expires_at: datetime

    @property
    def address(self) -> EmailAddress:
        """The address that the token was sent to."""
        return EmailAddress(self.email, self.email_canonical, self.email_skeleton)
