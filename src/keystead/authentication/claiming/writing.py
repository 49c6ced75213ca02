"""Writing a claim, or an address that is granted at once: steps of a transaction that holds the user's row still."""

from __future__ import annotations

from dataclasses import dataclass, field

from keystead.authentication.address_notices import address_changed
from keystead.authentication.claiming import store
from keystead.authentication.correspondence import Correspondence
from keystead.context import ActiveBrand, UserPrincipal
from keystead.db.interface import Tx
from keystead.mail import request_store as requests
from keystead.mail.requests import MailRequest
from keystead.sessions.model import Device
from keystead.users.claims import service as claims
from keystead.users.claims.model import Addresses
from keystead.users.email_addresses import EmailAddress
from keystead.users.one_time_tokens import service as tokens
from keystead.users.one_time_tokens.model import TokenPurpose

_PROVING = (TokenPurpose.verify, TokenPurpose.claim)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants which address, with what they knew or set."""

    caller: UserPrincipal
    brand: ActiveBrand
    address: EmailAddress
    as_read: str | None = field(default=None, repr=False)
    """The hash of the password that was confirmed; None: the user has none."""
    new_hash: str | None = field(default=None, repr=False)
    """The hash of the password that comes with the claim."""

    def is_repeated(self, before: Addresses) -> bool:
        """Whether this session claims the same address already, with the same password or none."""
        return (
            before.is_claim_on(self.address.canonical)
            and before.claiming_session_id == self.caller.session_id
            and before.pending_hash == self.new_hash
        )


async def write_claim(tx: Tx, asked: Claim, before: Addresses, request: MailRequest) -> bool:
    """Puts the claim in the place of the user's older one, and makes room for the ``request`` for its proof.

    False when the session is over, or the user's password is not the one that was confirmed any more.
    """
    brand_id, caller = asked.brand.id, asked.caller
    is_claimed = await store.claim(
        tx,
        brand_id,
        caller.user_id,
        caller.session_id,
        asked.address,
        request.asked_at,
        as_read=asked.as_read,
        new_hash=asked.new_hash,
    )
    if not is_claimed:
        return False
    # Whether or not a mail may follow: a link for another claim must not prove this one. Where it is the same again,
    # nothing is forgotten, by the same statement: how many there are must not depend on what has become of the claim.
    await tokens.forget(tx, brand_id, caller.user_id, () if asked.is_repeated(before) else _PROVING)
    # Nor must a link that another claim has asked for, and that the mail worker has not written yet.
    await requests.delete_of_user(tx, brand_id, caller.user_id)
    return True


async def write_grant(
    tx: Tx, correspondence: Correspondence, asked: Claim, before: Addresses, device: Device
) -> str | None:
    """Makes the address the login at once, or gives the reason why not: ``taken``, or ``overtaken`` as above.

    :raises Contention: when somebody else is given it at this moment.
    """
    brand_id, caller = asked.brand.id, asked.caller
    with claims.one_owner():
        is_granted = await store.grant(
            tx,
            brand_id,
            caller.user_id,
            caller.session_id,
            asked.address,
            correspondence.now,
            as_read=asked.as_read,
            new_hash=asked.new_hash,
        )
    if not is_granted:
        owner = await claims.find_owner(tx, brand_id, caller.user_id, asked.address)
        return "overtaken" if owner is None else "taken"
    await tokens.forget_others(tx, brand_id, caller.user_id, asked.address.canonical)
    old = before.proved_other(asked.address.canonical)
    if old is not None:
        await address_changed(tx, correspondence, caller.user_id, old, asked.address, device)
    return None
