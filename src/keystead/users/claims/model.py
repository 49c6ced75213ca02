"""What is known of a user's addresses: the one that logs in, and the one that waits for proof."""

from __future__ import annotations

from dataclasses import dataclass, field

from keystead.users.email_addresses import EmailAddress


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses in a user's row, and what hangs on the one that waits."""

    login: EmailAddress | None
    is_proved: bool
    """Whether the login address was proved; False where it was granted without."""
    pending: EmailAddress | None
    claiming_session_id: str | None
    """The session that claimed ``pending``; None when an administrator did, or somebody else proved the address."""
    pending_hash: str | None = field(default=None, repr=False)
    """The hash of the password that waits with ``pending``."""

    def is_claim_on(self, canonical: str) -> bool:
        """Whether this address is the one that waits for proof."""
        return self.pending is not None and self.pending.canonical == canonical

    def is_login(self, canonical: str) -> bool:
        """Whether this address is the one that logs in."""
        return self.login is not None and self.login.canonical == canonical

    def is_unproved_login(self, canonical: str) -> bool:
        """Whether this address logs in without ever having been proved."""
        return self.is_login(canonical) and not self.is_proved

    def proved_other(self, canonical: str) -> EmailAddress | None:
        """The login address, if it was proved and is another one: mail that nobody asked for may go there.

        One that was never proved may be anybody's.
        """
        return self.login if self.is_proved and not self.is_login(canonical) else None


@dataclass(frozen=True, slots=True)
class AddressOwner:
    """Who logs in with an address, or with one that looks the same; mail goes to it as it is stored."""

    user_id: str
    email: str
    canonical: str
