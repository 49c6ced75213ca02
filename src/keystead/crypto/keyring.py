"""The installation's keyring: the key that signs, and the keys that tokens are verified with (security §5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from keystead.crypto.signing import SigningKey, VerificationKey

FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Immutable: replaced as a whole when a key is added, promoted, dropped or revoked."""

    version: int
    """The version of the installation's keyring; a different one in the database means: reload."""
    active: SigningKey = field(repr=False)
    """Signs new access tokens."""
    verifying: Mapping[str, VerificationKey] = field(repr=False)
    """By ``kid``: next, active and retiring. Published by JWKS, and used to verify tokens."""
    jwks: bytes = field(repr=False)
    """The document of ``/.well-known/jwks.json`` (RFC 7517 §5)."""
    valid_until: datetime = FOREVER
    """When a key is promoted or dropped next: the keyring is out of date from then on."""

    @classmethod
    def of(
        cls,
        version: int,
        active: SigningKey,
        others: Iterable[VerificationKey] = (),
        *,
        valid_until: datetime = FOREVER,
    ) -> Keyring:
        """A keyring that signs with ``active``, and verifies with it and ``others``."""
        keys = {key.kid: key for key in (active.verification, *others)}
        document = msgspec.json.encode({"keys": [key.jwk for key in keys.values()]})
        return cls(version, active, MappingProxyType(keys), document, valid_until)

    def is_current(self, version: int, now: datetime) -> bool:
        """Whether it is up to date, given the ``version`` in the database."""
        return self.version == version and now < self.valid_until
