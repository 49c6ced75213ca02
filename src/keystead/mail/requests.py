"""Requests for mailed links: queued the same way for every address, and encrypted in the database.

The address may belong to no user, so the row stores it sealed (AES-256-GCM with a key derived from the master key),
together with everything else that the mail worker needs.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from keystead.audit.model import AuditEvent
from keystead.crypto.master_key import MasterKey
from keystead.crypto.sealing import seal, unseal
from keystead.mail.model import MailKind

_PURPOSE = "mail-request"


class RequestContent(msgspec.Struct, frozen=True, array_like=True):
    """The sealed content of a request, with the audit event to record when it is processed."""

    kind: MailKind
    canonical: str
    """The canonical form of the address."""
    languages: tuple[str, ...]
    event: AuditEvent


class MailRequest(msgspec.Struct, frozen=True):
    """A row of ``mail_requests``."""

    id: str
    brand_id: str
    user_id: str | None
    """The signed-in user who requested an e-mail change; None for requests without a session."""
    source: str
    """The network that it came from: requests of one network do not delay or displace those of others."""
    asked_at: datetime
    due_at: datetime
    """When it is processed: immediately, or with a delay after a failure."""
    sealed: bytes


_encode, _decoder = msgspec.msgpack.encode, msgspec.msgpack.Decoder(RequestContent)


def seal_content(master_key: MasterKey, request_id: str, content: RequestContent) -> bytes:
    """Encrypt the content of a request."""
    return seal(master_key.derive(_PURPOSE), _encode(content), request_id)


def unseal_content(master_key: MasterKey, request: MailRequest) -> RequestContent:
    """Decrypt the content of a request.

    :raises SealBroken: when it cannot be decrypted.
    :raises msgspec.DecodeError: when another release wrote it.
    """
    return _decoder.decode(unseal(master_key.derive(_PURPOSE), request.sealed, request.id))
