"""Signing keys: thumbprints, encryption at rest, the keyring."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey
from joserfc.jwk import thumbprint as joserfc_thumbprint

from keystead.crypto.keyring import Keyring
from keystead.crypto.master_key import MasterKey
from keystead.crypto.signing import KeyUnreadable, SigningKey, VerificationKey

MASTER = MasterKey(b"m" * 32)
OTHER_MASTER = MasterKey(b"o" * 32)


def test_a_key_survives_encryption() -> None:
    key = SigningKey.generate()
    opened = SigningKey.from_encrypted(key.kid, key.to_encrypted(MASTER), MASTER)
    assert opened == key
    assert opened.private.private_numbers() == key.private.private_numbers()


def test_the_kid_is_the_rfc_7638_thumbprint() -> None:
    key = SigningKey.generate()
    members = {name: key.verification.jwk[name] for name in ("kty", "crv", "x", "y")}
    assert key.kid == joserfc_thumbprint(members)


def test_coordinates_keep_their_leading_zeros() -> None:
    """A key whose x begins with a zero byte has 43 letters in its JWK all the same (RFC 7518 §6.2.1.2)."""
    keys = [ec.derive_private_key(number, ec.SECP256R1()).public_key() for number in range(1, 1000)]
    short = [key for key in keys if key.public_numbers().x < 2**248]
    assert short
    for key in short:
        assert len(VerificationKey.of(key).jwk["x"]) == 43


def test_only_p256_is_taken() -> None:
    with pytest.raises(ValueError):
        VerificationKey.of(ec.generate_private_key(ec.SECP384R1()).public_key())


def test_another_master_key_name_or_byte_does_not_open_it() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    stored = key.to_encrypted(MASTER)
    damaged = (stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :] for place in range(len(stored)))
    for kid, text, master in (
        (key.kid, stored, OTHER_MASTER), (other.kid, stored, MASTER), *((key.kid, text, MASTER) for text in damaged),
    ):  # fmt: skip
        with pytest.raises(KeyUnreadable):
            SigningKey.from_encrypted(kid, text, master)


def test_the_private_half_is_hidden_and_not_published() -> None:
    key = SigningKey.generate()
    secret_number = str(key.private.private_numbers().private_value)
    assert "private" not in repr(key)
    assert secret_number not in repr(key)
    keyring = Keyring.of(1, key)
    assert "private" not in repr(keyring)
    assert "d" not in json.loads(keyring.jwks)["keys"][0]


def test_the_keyring_publishes_what_it_accepts() -> None:
    active, coming = SigningKey.generate(), SigningKey.generate()
    keyring = Keyring.of(7, active, [coming.verification])
    published = json.loads(keyring.jwks)["keys"]
    assert [key["kid"] for key in published] == [active.kid, coming.kid] == list(keyring.verifying)
    for jwk in published:
        assert set(jwk) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        assert ECKey.import_key(jwk).thumbprint() == jwk["kid"]
