"""The installation's ES256 keys: P-256 key pairs named by their RFC 7638 thumbprint, and their form at rest.

A private key is stored as AES-256-GCM over its PKCS#8 DER form, with its ``kid`` as associated data, under a key
derived from the master key: a row copied to another ``kid``, or read with another master key, does not decrypt.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from joserfc.jwk import ECKey

from keystead.crypto.master_key import MasterKey
from keystead.crypto.sealing import SealBroken, seal, unseal

ALGORITHM: Final = "ES256"
SIGNING_KEYS_PURPOSE: Final = "signing-keys"
_ECDSA = ec.ECDSA(SHA256())
_COORDINATE = 32


class KeyUnreadable(Exception):
    """A stored private key does not decrypt: another master key, another row, or damage."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """The public half of a signing key, published by JWKS."""

    kid: str
    jwk: dict[str, str]
    """RFC 7517, public members only."""
    joserfc_key: ECKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, public: ec.EllipticCurvePublicKey) -> VerificationKey:
        """The verification key with its ``kid`` and JWK.

        :raises ValueError: when the key is not on P-256.
        """
        if not isinstance(public.curve, ec.SECP256R1):
            raise ValueError("ES256 keys are on P-256")
        key = ECKey.import_key(public)
        kid = key.thumbprint()
        members = {name: str(value) for name, value in key.as_dict(private=False).items()}
        jwk = {"kty": "EC", "crv": "P-256", "x": members["x"], "y": members["y"]}
        return cls(kid, jwk | {"kid": kid, "use": "sig", "alg": ALGORITHM}, key)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair. Its private half is hidden in ``repr``."""

    verification: VerificationKey
    private: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint, 43 characters."""
        return self.verification.kid

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key pair on P-256."""
        return cls._of(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def _of(cls, private: ec.EllipticCurvePrivateKey) -> SigningKey:
        return cls(VerificationKey.of(private.public_key()), private)

    def to_encrypted(self, master_key: MasterKey, *, random: Callable[[int], bytes] = os.urandom) -> bytes:
        """Encrypt for storage: 12 bytes of nonce, then ciphertext and tag."""
        plain = self.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return seal(master_key.derive(SIGNING_KEYS_PURPOSE), plain, self.kid, random=random)

    @classmethod
    def from_encrypted(cls, kid: str, stored: bytes, master_key: MasterKey) -> SigningKey:
        """Decrypt the key pair that :meth:`to_encrypted` stored as ``kid``.

        :raises KeyUnreadable: when it does not decrypt, or has another thumbprint.
        """
        try:
            plain = unseal(master_key.derive(SIGNING_KEYS_PURPOSE), stored, kid)
            private = load_der_private_key(plain, password=None)
        except (SealBroken, ValueError) as error:
            raise KeyUnreadable(f"the signing key {kid} does not decrypt: {type(error).__name__}") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or cls._of(private).kid != kid:
            raise KeyUnreadable(f"the key stored as signing key {kid} is another one")
        return cls._of(private)

    def signature(self, message: bytes) -> bytes:
        """Sign ``message`` with ES256: 64 bytes, r ‖ s (RFC 7518 §3.4)."""
        r, s = decode_dss_signature(self.private.sign(message, _ECDSA))
        return r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
