"""One request for a mailed link: alike for every address, and unreadable in the database.

The address need not be a user's; so the row keeps it sealed (AES-256-GCM under a key derived from the master
key), with everything else that the mail worker needs.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from keystead.audit.model import AuditEvent
from keystead.crypto.master_key import MasterKey
from keystead.crypto.sealing import seal, unseal
from keystead.mail.model import MailKind

_PURPOSE = "mail-request"


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """What was asked for, and what the audit log says of it once that is decided."""

    kind: MailKind
    canonical: str
    """The address in the form that is compared."""
    languages: tuple[str, ...]
    event: AuditEvent


class MailRequest(msgspec.Struct, frozen=True):
    """A row of the table."""

    id: str
    brand_id: str
    user_id: str | None
    """The signed-in user who wants an address proved; None where a link is asked for without signing in."""
    source: str
    """The network that it came from: what one asks for does not delay, or fill up, what others ask for."""
    asked_at: datetime
    due_at: datetime
    """When it is decided: immediately, or some time after a failure."""
    sealed: bytes


_encode, _decoder = msgspec.msgpack.encode, msgspec.msgpack.Decoder(Asked)


def close(master_key: MasterKey, request_id: str, asked: Asked) -> bytes:
    """What the row keeps of it."""
    return seal(master_key.derive(_PURPOSE), _encode(asked), request_id)


def open_(master_key: MasterKey, request: MailRequest) -> Asked:
    """What was asked for.

    :raises SealBroken: when the row does not open.
    :raises msgspec.DecodeError: when another release wrote it.
    """
    return _decoder.decode(unseal(master_key.derive(_PURPOSE), request.sealed, request.id))
