"""A01-A05, A07, A11: access tokens that somebody else made, or ours made over."""

from __future__ import annotations

import json
import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keystead.crypto.signing import SigningKey
from tests.api import Api
from tests.attacks.forging import MISSING, Forge
from tests.attacks.operations import ME, assert_token_refused
from tests.attacks.watched import WatchedDatabase
from tests.crypto.tokens import encoded

Sign = Callable[[bytes], bytes]


@pytest.fixture(autouse=True)
async def _a_good_token_enters(api: Api, forge: Forge) -> None:
    """Whatever is refused below is refused for what was changed in it."""
    assert (await api.send(ME, token=forge.good)).data["me"]["email"] == "ann@example.com"


async def _assert_all_refused(api: Api, tokens: dict[str, str]) -> None:
    for case, token in tokens.items():
        assert_token_refused(await api.send(ME, token=f"Bearer {token}"), case)
        assert_token_refused(await api.send(ME, token=token), case)


@pytest.mark.attack("A01")
async def test_unsigned_tokens_are_refused(api: Api, forge: Forge) -> None:
    """RFC 8725 §3.2: "none" is no algorithm of ours, in whatever case, with or without a signature."""
    names: list[Any] = ["none", "None", "NONE", "nOnE", "", None, MISSING]
    tokens = {f"{name}, signed": forge.with_header(alg=name) for name in names}
    tokens |= {f"{name}, empty": forge.with_header(lambda _: b"", alg=name) for name in [*names, "ES256"]}
    tokens |= {f"{name}, two parts": token.removesuffix(".") for name, token in tokens.items() if token[-1] == "."}
    assert len(tokens) > 2 * len(names)
    await _assert_all_refused(api, tokens)


@pytest.mark.attack("A02")
async def test_the_public_key_is_no_hmac_secret(api: Api, forge: Forge) -> None:
    """RFC 8725 §2.1, key confusion: everybody has the public key, in every one of these forms."""
    public = forge.key.private.public_key()
    jwk = forge.key.verification.jwk
    secrets = {
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "PEM, stripped": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "raw": public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        "raw, X and Y": public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:],
        "raw, compressed": public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint),
        "JWK": json.dumps(jwk).encode(),
        "JWK, compact": json.dumps(jwk, separators=(",", ":")).encode(),
        "JWKS": forge.server.keyring.jwks,
        "kid": forge.key.kid.encode(),
        "nothing": b"",
    }
    algorithms: dict[str, hashes.HashAlgorithm] = {
        "HS256": hashes.SHA256(),
        "HS384": hashes.SHA384(),
        "HS512": hashes.SHA512(),
    }
    tokens = {
        f"{alg} with {form}": forge.with_header(_hmac(secret, algorithm), alg=alg)
        for alg, algorithm in algorithms.items()
        for form, secret in secrets.items()
    }
    tokens |= {
        f"ES256 in name, {form}": forge.token(sign=_hmac(secret, hashes.SHA256())) for form, secret in secrets.items()
    }
    await _assert_all_refused(api, tokens)


def _hmac(secret: bytes, algorithm: hashes.HashAlgorithm) -> Sign:
    def sign(message: bytes) -> bytes:
        mac = hmac.HMAC(secret, algorithm)
        mac.update(message)
        return mac.finalize()

    return sign


@pytest.mark.attack("A03")
async def test_the_keys_of_others_sign_nothing(api: Api, forge: Forge) -> None:
    """RFC 8725 §3.1: the algorithm is ours to choose, and the key is the keyring's, whatever the header says."""
    attacker = SigningKey.generate()
    rsa_key, ed_key = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    p384, p521, k256 = (ec.generate_private_key(curve) for curve in (ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()))
    signers: dict[str, Sign] = {
        "EdDSA": ed_key.sign,
        "Ed25519": ed_key.sign,
        "RS256": lambda message: rsa_key.sign(message, padding.PKCS1v15(), hashes.SHA256()),
        "PS256": lambda message: rsa_key.sign(message, _PSS, hashes.SHA256()),
        "ES384": _ecdsa(p384, hashes.SHA384(), 48),
        "ES512": _ecdsa(p521, hashes.SHA512(), 66),
        "ES256K": _ecdsa(k256, hashes.SHA256(), 32),
        "ES256": attacker.signature,
    }
    tokens = {f"{alg}, its key": forge.with_header(sign, alg=alg) for alg, sign in signers.items()}
    tokens |= {f"ES256 in name, {alg} in truth": forge.token(sign=sign) for alg, sign in signers.items()}
    tokens |= {f"{alg} in name, ours in truth": forge.with_header(alg=alg) for alg in signers if alg != "ES256"}
    # CVE-2022-21449: r and s of zero, or of the order of the curve, fit every message in a careless verifier.
    for number in (0, 1, _ORDER, _ORDER - 1):
        half = number.to_bytes(32, "big")
        tokens[f"r = s = {number}"] = forge.token(sign=lambda _, half=half: half + half)  # type: ignore[misc]
    await _assert_all_refused(api, tokens)


_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2, §2.4.2)."""


def _ecdsa(key: ec.EllipticCurvePrivateKey, algorithm: hashes.HashAlgorithm, width: int) -> Sign:
    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm)))
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")

    return sign


@pytest.mark.attack("A04")
async def test_header_extensions_are_refused_even_under_our_signature(api: Api, forge: Forge) -> None:
    """RFC 7515 §4.1.11: what is critical and not understood must be refused; here nothing is understood."""
    changes: list[dict[str, Any]] = [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["urn:example:unknown"], "urn:example:unknown": True},
        {"crit": ["alg"]},
        {"crit": []},
        {"crit": None},
        {"crit": "b64"},
        {"b64": False, "crit": ["b64"]},
        {"b64": False},
        {"b64": True},
        {"zip": "DEF"},
        {"cty": "JWT"},
    ]
    await _assert_all_refused(api, {str(change): forge.with_header(**change) for change in changes})


@pytest.mark.attack("A05")
async def test_keys_that_a_token_brings_along_are_neither_believed_nor_fetched(
    api: Api, forge: Forge, watched: WatchedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8725 §3.10. The attacker signs, and names the key to be checked with; or our own key signs the same."""
    attacker = SigningKey.generate()
    jwk = attacker.verification.jwk
    certificate = urlsafe_b64encode(b"a certificate").decode()
    url = "http://127.0.0.1:9/jwks.json"
    brought: list[dict[str, Any]] = [
        {"jwk": jwk},
        {"jwk": jwk, "kid": MISSING},
        {"jku": url},
        {"jku": forge.server.settings.base_url + "/.well-known/jwks.json"},
        {"x5u": url},
        {"x5c": [certificate]},
        {"x5t": certificate},
        {"x5t#S256": certificate},
        {"kid": attacker.kid},
        {"kid": attacker.kid, "jwk": jwk},
    ]
    tokens = {f"{change}, attacker": forge.with_header(attacker.signature, **change) for change in brought}
    tokens |= {f"{change}, ours": forge.with_header(**change) for change in brought}
    connected: list[object] = []
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, lambda _, address: connected.append(address), raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **_: connected.append(asked))
    watched.forget()
    await _assert_all_refused(api, tokens)
    assert connected == []
    assert watched.asked_besides_the_keyring == []


@pytest.mark.attack("A07")
async def test_only_our_type_is_an_access_token(api: Api, forge: Forge) -> None:
    """RFC 8725 §3.11: another kind of JWT, though we had signed it, is no access token. Ours is written one way."""
    types: list[Any] = [
        "JWT", "jwt", "id+jwt", "dpop+jwt", "logout+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "at+jwt ",
        " at+jwt", "at+jwt\0", "", None, True, 1, ["at+jwt"], {"at+jwt": 1}, MISSING,
    ]  # fmt: skip
    await _assert_all_refused(api, {repr(value): forge.with_header(typ=value) for value in types})


@pytest.mark.attack("A11")
async def test_a_token_has_one_spelling(api: Api, forge: Forge) -> None:
    """RFC 4648 §3.5, RFC 7515 §2: no padding, nothing around it, no unused bits; else one token had many digests."""
    good = forge.good
    header, payload, signature = good.split(".")
    spellings = [
        f"{good}=", f"{good}==", f"{good}===", f"{header}=.{payload}.{signature}", f"{header}.{payload}=.{signature}",
        f"{good}\n", f"{good}\r\n", f"{good} ", f"{good}\0", f"{good}.", f".{good}", f"{good}..", f"{good}.{signature}",
        f"{header}..{payload}.{signature}", f"{header}.{payload}", f"{header}.{payload}.", f"..{signature}", "..", ".",
        f"{header}.{payload}.{signature[:-1]}", f"{good}A", f"{header}.{payload[1:]}.{signature}",
        f"{header}\n.{payload}.{signature}", f"{header}. {payload}.{signature}", f'"{good}"', f"{good};", f"{good},",
    ]  # fmt: skip
    spellings += [spelt for part in (0, 1, 2) for spelt in _with_unused_bits(good, part)]
    spellings += [good.translate(str.maketrans("-_", "+/"))] if {"-", "_"} & set(good) else []
    assert len(set(spellings)) == len(spellings) > 40
    await _assert_all_refused(api, {repr(spelt): spelt for spelt in spellings if spelt != good})


def _with_unused_bits(token: str, part: int) -> list[str]:
    """The token with other last letters of one part that decode to the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    parts = token.split(".")
    unused = {0: 0, 2: 4, 3: 2}[len(parts[part]) % 4]
    last = alphabet.index(parts[part][-1])
    others = [alphabet[last | bits] for bits in range(1, 1 << unused)]
    return [".".join([*parts[:part], parts[part][:-1] + letter, *parts[part + 1 :]]) for letter in others]


def test_unused_bits_are_bits_that_change_nothing() -> None:
    """The attack above is what it says it is."""
    token = f"{encoded(b'a')}.{encoded(b'ab')}.{encoded(b'abc')}"
    spelt = [_with_unused_bits(token, part) for part in (0, 1, 2)]
    assert [len(them) for them in spelt] == [15, 3, 0]
    assert {urlsafe_b64decode(them.split(".")[0] + "==") for them in spelt[0]} == {b"a"}
