"""Asking an address for proof: the mail with the link, or a notice to whom the address belongs already.

Done by the mail worker (``mail_resolver``), so that the caller cannot tell by the time whether the address is taken.
Mail goes to an address as it is stored: where the address only looks like a login, nothing goes to the one
that was typed.
"""

from __future__ import annotations

from dataclasses import dataclass

from keystead.authentication.address_notices import address_taken
from keystead.authentication.correspondence import Correspondence, Draft, came_from
from keystead.crypto.secrets import Secret
from keystead.db.interface import Tx
from keystead.errors import InternalError
from keystead.mail.model import MailKind
from keystead.sessions.model import Device
from keystead.users.claims import service as claims
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import service as tokens
from keystead.users.one_time_tokens.model import TokenPurpose

PROOF_MAILS = {TokenPurpose.verify: MailKind.verify_email, TokenPurpose.claim: MailKind.change_email}
"""The mail whose link proves an address, by what its token is for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of it; for the log alone, never for the caller."""

    is_taken: bool
    is_mailed: bool

    @property
    def reason(self) -> str | None:
        """Why no link was mailed."""
        if self.is_taken:
            return "taken"
        return None if self.is_mailed else "rate_limited"


async def ask_for_proof(
    tx: Tx, correspondence: Correspondence, user_id: str, address: EmailAddress, purpose: TokenPurpose, device: Device
) -> Asked:
    """Mails a link to the address, which is in the user's row; a notice to its owner if it is somebody else's login.

    Nothing within a minute of the last mail, nor as the sixth in an hour; then the older link stays good.
    """
    brand_id, now = correspondence.brand.id, correspondence.now
    owner = await claims.find_owner(tx, brand_id, user_id, address)
    canonical = owner.canonical if owner else address.canonical
    is_allowed = await correspondence.may_send(tx, canonical)
    link = correspondence.draft(PROOF_MAILS[purpose])
    secret, expires_at = _secret(link), tokens.lifetime_end(purpose, now)
    is_linked = is_allowed and owner is None
    await tokens.issue(tx, brand_id, user_id, purpose, address, secret, now, is_allowed=is_linked)
    if owner is not None:
        is_mailed = await address_taken(tx, correspondence, owner, device, is_wanted=is_allowed)
    else:
        is_mailed = await correspondence.send(
            tx,
            link,
            user_id,
            address.display,
            canonical,
            expires_at=expires_at,
            shown=came_from(device),
            is_wanted=is_allowed,
        )
    return Asked(is_taken=owner is not None, is_mailed=is_mailed)


def _secret(draft: Draft) -> Secret:
    if draft.secret is None:
        raise InternalError(cause=f"a {draft.kind} mail carries no link")
    return draft.secret
