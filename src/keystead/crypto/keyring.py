"""The signing keys of the installation at one moment: one signs, several are verified with (security §5)."""

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
    """Replaced whole when a key is added, promoted, dropped or revoked; never changed in place."""

    version: int
    """The number of the installation's keyring that this is; another one in the database means: read it again."""
    active: SigningKey = field(repr=False)
    """What new access tokens are signed with."""
    verifying: Mapping[str, VerificationKey] = field(repr=False)
    """By ``kid``: next, active and retiring. What JWKS publishes and what tokens are checked with."""
    jwks: bytes = field(repr=False)
    """The document of ``/.well-known/jwks.json`` (RFC 7517 §5)."""
    valid_until: datetime = FOREVER
    """When the next key is promoted or dropped, so that time alone makes this keyring out of date."""

    @classmethod
    def of(
        cls,
        version: int,
        active: SigningKey,
        others: Iterable[VerificationKey] = (),
        *,
        valid_until: datetime = FOREVER,
    ) -> Keyring:
        """A keyring that signs with ``active`` and verifies with it and with ``others``."""
        keys = {key.kid: key for key in (active.verification, *others)}
        document = msgspec.json.encode({"keys": [key.jwk for key in keys.values()]})
        return cls(version, active, MappingProxyType(keys), document, valid_until)

    def is_current(self, version: int, now: datetime) -> bool:
        """Whether it may still be used, when the database's keyring has the number ``version``."""
        return self.version == version and now < self.valid_until
