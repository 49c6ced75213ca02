"""Hostile access tokens (attacks A01-A14), in one table for the server's verification, HTTP, and the SDK's verifier.

Each token is right in everything but what the attack changes. RFC 8725 (JWT best practices) names most of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keystead.crypto import secrets
from keystead.crypto.keyring import Keyring
from keystead.crypto.secrets import SecretKind
from keystead.crypto.signing import SigningKey
from tests.forging import AUDIENCE, MISSING, Forge, Sign, as_json, decode, encode

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""SEC 2 §2.4.2."""
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

Tokens = dict[str, str]


def unsigned(forge: Forge) -> Tokens:
    """A01, RFC 8725 §3.2: "none" in any case, with or without a signature."""
    names: list[Any] = ["none", "None", "NONE", "nOnE", "", None, 0, ["ES256"], MISSING]
    tokens = {f"{name}, signed": forge.with_header(alg=name) for name in names}
    tokens |= {f"{name}, empty": forge.with_header(lambda _: b"", alg=name) for name in [*names, "ES256"]}
    return tokens | {f"{name}, two parts": token[:-1] for name, token in tokens.items() if token[-1] == "."}


def keyed_with_public_key(forge: Forge) -> Tokens:
    """A02, RFC 8725 §2.1, key confusion: HMAC with the public key in each of its forms."""
    public = forge.key.private.public_key()
    jwk = forge.key.verification.jwk
    forms = {
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "PEM, stripped": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "raw": public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        "raw, X and Y": public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:],
        "raw, compressed": public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint),
        "JWK": json.dumps(jwk).encode(),
        "JWK, compact": json.dumps(jwk, separators=(",", ":")).encode(),
        "JWKS": Keyring.of(1, forge.key).jwks,
        "kid": forge.key.kid.encode(),
        "empty": b"",
    }
    algorithms = {
        "HS256": hashes.SHA256(),
        "HS384": hashes.SHA384(),
        "HS512": hashes.SHA512(),
        "ES256": hashes.SHA256(),
    }
    return {
        f"{alg} with {form}": forge.with_header(_hmac(secret, algorithm), alg=alg)
        for alg, algorithm in algorithms.items()
        for form, secret in forms.items()
    }


def signed_with_other_keys(forge: Forge) -> Tokens:
    """A03, RFC 8725 §3.1: other keys and algorithms, and degenerate signatures (CVE-2022-21449)."""
    rsa_key, ed_key = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    p384, p521, k256 = (ec.generate_private_key(curve) for curve in (ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    signers: dict[str, Sign] = {
        "EdDSA": ed_key.sign,
        "Ed25519": ed_key.sign,
        "RS256": lambda message: rsa_key.sign(message, padding.PKCS1v15(), hashes.SHA256()),
        "PS256": lambda message: rsa_key.sign(message, pss, hashes.SHA256()),
        "ES384": _ecdsa(p384, hashes.SHA384(), 48),
        "ES512": _ecdsa(p521, hashes.SHA512(), 66),
        "ES256K": _ecdsa(k256, hashes.SHA256(), 32),
        "ES256": SigningKey.generate().signature,
    }
    tokens = {f"{alg}, its key": forge.with_header(sign, alg=alg) for alg, sign in signers.items()}
    tokens |= {f"ES256 in name, {alg} in truth": forge.token(sign=sign) for alg, sign in signers.items()}
    tokens |= {f"{alg} in name, ours in truth": forge.with_header(alg=alg) for alg in signers if alg != "ES256"}
    for number in (0, 1, P256_ORDER, P256_ORDER - 1, 2**256 - 1):
        half = number.to_bytes(32, "big")
        tokens[f"r = s = {number}"] = forge.token(sign=lambda _, half=half: half + half)  # type: ignore[misc]
    return tokens | {"DER": forge.token(sign=lambda m: forge.key.private.sign(m, ec.ECDSA(hashes.SHA256())))}


def with_header_extensions(forge: Forge) -> Tokens:
    """A04, RFC 7515 §4.1.11: critical or unknown members, under the server's own signature."""
    changes: list[dict[str, Any]] = [
        {"crit": ["exp"], "exp": 1}, {"crit": ["urn:example:unknown"], "urn:example:unknown": True}, {"crit": ["alg"]},
        {"crit": []}, {"crit": None}, {"crit": "b64"}, {"b64": False, "crit": ["b64"]}, {"b64": False}, {"b64": True},
        {"zip": "DEF"}, {"cty": "JWT"}, {"": ""},
    ]  # fmt: skip
    return {str(change): forge.with_header(**change) for change in changes}


def with_own_keys(forge: Forge) -> Tokens:
    """A05, RFC 8725 §3.10: the token brings its key or says where to fetch it."""
    attacker = SigningKey.generate()
    jwk, certificate, url = attacker.verification.jwk, encode(b"a certificate"), "http://127.0.0.1:9/jwks.json"
    brought: list[dict[str, Any]] = [
        {"jwk": jwk}, {"jwk": jwk, "kid": MISSING}, {"jku": url},
        {"jku": forge.payload["iss"] + "/.well-known/jwks.json"}, {"x5u": url}, {"x5c": [certificate]},
        {"x5t": certificate}, {"x5t#S256": certificate}, {"kid": attacker.kid}, {"kid": attacker.kid, "jwk": jwk},
    ]  # fmt: skip
    tokens = {f"{change}, attacker's signature": forge.with_header(attacker.signature, **change) for change in brought}
    return tokens | {f"{change}, our signature": forge.with_header(**change) for change in brought}


def with_hostile_kid(forge: Forge) -> Tokens:
    """A06: a ``kid`` that is a path, SQL, an address, or no text."""
    ours = forge.key.kid
    kids: list[Any] = [
        "../../dev/null", "/dev/null", "../../../../../../etc/passwd", "file:///dev/null", "' OR 1=1--",
        "'; DROP TABLE", "| id", "http://127.0.0.1:9/", "k" * 1000, "", "ключ", "\u202e\ufeff", "\ud800", "\0",
        ours + "\0", ours + " ", ours + "=", ours + "\n", ours.lower(), ours[:-1], 0, 1, -1, 1.5, True, None,
        [], [ours], {}, {"kid": ours}, MISSING,
    ]  # fmt: skip
    return {repr(kid): forge.with_header(kid=kid) for kid in kids}


def with_other_type(forge: Forge) -> Tokens:
    """A07, RFC 8725 §3.11: other values of ``typ``, and headers that are not one JSON object."""
    types: list[Any] = [
        "JWT", "jwt", "id+jwt", "dpop+jwt", "logout+jwt", "AT+JWT", "At+Jwt", "at+JWT", "application/at+jwt",
        "at+jwt ", " at+jwt", "at+jwt\0", "", None, True, 1, ["at+jwt"], {"at+jwt": 1}, MISSING,
    ]  # fmt: skip
    ours = as_json(forge.header)
    headers = [
        *_NOT_OBJECTS, b"[" * 1000, b'{"a":' * 200, b"\xef\xbb\xbf" + ours, json.dumps(forge.header).encode("utf-16"),
        ours[:-1] + b',"alg":"ES256"}', ours[:-1] + b',"alg":"none"}', b'{"alg":"none",' + ours[1:], ours + ours,
        ours + b"\0",
    ]  # fmt: skip
    tokens = {repr(value): forge.with_header(typ=value) for value in types}
    return tokens | {repr(header)[:200]: forge.token(header=header) for header in headers}


def with_other_claims(forge: Forge) -> Tokens:
    """A08: claims missing, added, duplicated or of another shape; another issuer; payloads that are not one object."""
    now, ours, issuer = forge.payload["iat"], as_json(forge.payload), forge.payload["iss"]
    tokens = {f"{name} missing": forge.with_payload(**{name: MISSING}) for name in forge.payload}
    tokens |= {f"{name} null": forge.with_payload(**{name: None}) for name in forge.payload}
    extra = {"nbf": now + 60, "scope": "admin", "permissions": ["admin"], "email": "ann@example.com", "admin": True}
    tokens |= {name: forge.with_payload(**{name: value}) for name, value in extra.items()}
    tokens["nbf past"] = forge.with_payload(nbf=now - 60)
    payloads = [
        *_NOT_OBJECTS, b"[" * 1100, json.dumps([forge.payload]).encode(), ours[:-1] + b', "sub": "someone"}',
        b'{"sub":"someone",' + ours[1:], b"\xef\xbb\xbf" + ours, json.dumps(forge.payload).encode("utf-16"),
    ]  # fmt: skip
    tokens |= {repr(payload)[:200]: forge.token(payload=payload) for payload in payloads}
    issuers: list[Any] = [
        issuer + "/", issuer + ".evil.example", issuer.upper(), issuer.replace("https", "http"), "https://evil.example",
        " " + issuer, {issuer: 1},
    ]  # fmt: skip
    tokens |= {f"iss {value}": forge.with_payload(iss=value) for value in issuers}
    shapes: list[Any] = ["", 1, True, [], {}, "a\0b", "\ud800", "' OR 1=1--", "a" * 65, "é"]
    return tokens | {
        f"{name} {value!r}": forge.with_payload(**{name: value})
        for name in ("sub", "sid", "jti", "iss")
        for value in shapes
    }


def with_other_times(forge: Forge) -> Tokens:
    """A08, A09: expired, from the future beyond any leeway of seconds, or no whole number."""
    now = forge.payload["iat"]
    times: list[dict[str, Any]] = [
        {"exp": now}, {"exp": 0}, {"exp": 1}, {"iat": now - 900, "exp": now - 1}, {"iat": now - 10, "exp": now - 9},
        {"iat": now + 900}, {"iat": now + 901}, {"iat": now + 6}, {"iat": now + 60, "exp": now + 3600},
    ]  # fmt: skip
    tokens = {str(change): forge.with_payload(**change) for change in times}
    texts = [
        f'"{now + 5}"', f'" {now + 5}"', f"{now + 5}.0", f"{now + 5}.5", f"{now + 5}e0", '"never"', '""', "-1",
        str(-(2**63)), str(2**63), str(2**64), str(2**53 + 1), "9" * 400, "1e10", "1e400", "-1e400", "NaN", "Infinity",
        "-Infinity", "0x7f", "1_000", "017", "+1", "true", "false", "null", "[]", "{}", f"[{now + 5}]", '{"$gt": 0}',
    ]  # fmt: skip
    for name in ("exp", "iat"):
        for text in texts:
            payload = json.dumps(forge.payload | {name: "HERE"}).replace('"HERE"', text).encode()
            tokens[f"{name} {text}"] = forge.token(payload=payload)
    return tokens


def with_other_audience(forge: Forge) -> Tokens:
    """A10, RFC 8725 §3.9: lists, and names that begin or end like the brand's."""
    ours: str = forge.payload["aud"]
    brand, other = ours.removeprefix(AUDIENCE), AUDIENCE + "0190a000-0000-7000-8000-0000000000ff"
    audiences: list[Any] = [
        [ours], [ours, other], [other, ours], [ours, "urn:example:api"], [], {ours: True}, {"0": ours}, None, 1, "",
        ours + " ", " " + ours, ours + "\n", ours + "/", ours.upper(), "URN" + ours[3:], AUDIENCE, AUDIENCE[:-1],
        brand, f"{ours},{other}", f"{ours} {other}", f"x{ours}", AUDIENCE + ours, ours + "\0", f"{ours}' OR '1'='1",
    ]  # fmt: skip
    return {repr(aud): forge.with_payload(aud=aud) for aud in audiences}


def spelt_differently(forge: Forge) -> Tokens:
    """A11, RFC 4648 §3.5, RFC 7515 §2: padding, characters around, unused bits; a token has one spelling."""
    good = forge.good
    header, payload, signature = good.split(".")
    spellings = [
        f"{good}=", f"{good}==", f"{good}===", f"{header}=.{payload}.{signature}", f"{header}.{payload}=.{signature}",
        f"{good}\n", f"{good}\r\n", f"{good} ", f"{good}\0", f"{good}.", f".{good}", f"{good}..", f"{good}.{signature}",
        f"{header}..{payload}.{signature}", f"{header}.{payload}", f"{header}.{payload}.", f"..{signature}", "..", ".",
        f"{header}.{payload}.{signature[:-1]}", f"{good}A", f"{header}.{payload[1:]}.{signature}", "a.b.c",
        f"{header}\n.{payload}.{signature}", f"{header}. {payload}.{signature}", f'"{good}"', f"{good};", f"{good},",
    ]  # fmt: skip
    spellings += [spelling for part in (0, 1, 2) for spelling in _with_unused_bits(good, part)]
    return {repr(spelling): spelling for spelling in spellings}


def _with_unused_bits(token: str, part: int) -> list[str]:
    """The token with other last letters of one part that decode to the same bytes."""
    parts = token.split(".")
    unused = {0: 0, 2: 4, 3: 2}[len(parts[part]) % 4]
    last = _ALPHABET.index(parts[part][-1])
    twins = [_ALPHABET[last | bits] for bits in range(1, 1 << unused)]
    assert all(decode(parts[part][:-1] + letter) == decode(parts[part]) for letter in twins)
    return [".".join([*parts[:part], parts[part][:-1] + letter, *parts[part + 1 :]]) for letter in twins]


def mutations(forge: Forge, count: int = 300, *, seed: int = 0) -> Tokens:
    """A12: ``count`` tokens with one bit, letter or stretch changed; the same ones for the same ``seed``."""
    dice, good = random.Random(seed), forge.good
    tokens: Tokens = {}
    while len(tokens) < count:
        mutated = _mutated(good, dice)
        if mutated != good:
            tokens[mutated] = mutated
    return tokens


def _mutated(token: str, dice: random.Random) -> str:
    parts, place, letters = token.split("."), dice.randrange(len(token)), _ALPHABET + "=.+/ \té"
    match dice.randrange(8):
        case 0 | 1 | 2 | 3:
            part = dice.choice((0, 1, 1, 2, 2))
            value = bytearray(decode(parts[part]))
            value[dice.randrange(len(value))] ^= 1 << dice.randrange(8)
            return ".".join([*parts[:part], encode(bytes(value)), *parts[part + 1 :]])
        case 4:
            return token[:place] + chr(ord(token[place]) ^ (1 << dice.randrange(8))) + token[place + 1 :]
        case 5:
            return token[:place] + dice.choice(letters) + token[place + 1 :]
        case 6:
            return token[:place] + dice.choice(letters) + token[place:]
        case _:
            return token[:place] + token[place + dice.randrange(1, 9) :]


def too_long(forge: Forge) -> Tokens:
    """A13: more than 2,048 characters, whatever they are."""
    good, tokens = forge.good, {"our signature": forge.with_payload(jti="0" * 2000)}
    for size in (2049, 65_536, 1_048_576):
        tokens |= {
            f"{size} letters": "A" * size,
            f"{size} dots": "." * size,
            f"{size} parts": ("A." * size)[:size],
            f"{size}, padded": "A" * (size - 1) + "=",
            f"{size}, a good start": good + "A" * (size - len(good)),
            f"{size}, a long payload": f"{good.split('.')[0]}.{'A' * size}.{good.split('.')[2]}",
            f"{size} bytes": "\xff" * size,
        }
    return tokens


def other_secrets(_: Forge) -> Tokens:
    """A14: each kind of opaque secret, by its shape."""
    return {kind: secrets.generate(kind).reveal() for kind in SecretKind}


HOSTILE: dict[str, list[Callable[[Forge], Tokens]]] = {
    "A01": [unsigned], "A02": [keyed_with_public_key], "A03": [signed_with_other_keys], "A04": [with_header_extensions],
    "A05": [with_own_keys], "A06": [with_hostile_kid], "A07": [with_other_type],
    "A08": [with_other_claims, with_other_times], "A09": [with_other_times], "A10": [with_other_audience],
    "A11": [spelt_differently], "A12": [mutations], "A13": [too_long], "A14": [other_secrets],
}  # fmt: skip
"""By attack. To be refused with a leeway of at most five seconds."""
ATTACKS = [pytest.param(attack, marks=pytest.mark.attack(attack)) for attack in HOSTILE]
"""For ``pytest.mark.parametrize("attack", ATTACKS)``."""


def hostile_tokens(attack: str, forge: Forge) -> Tokens:
    """The tokens of one attack, by what is wrong with them."""
    return {case: token for make in HOSTILE[attack] for case, token in make(forge).items()}


_NOT_OBJECTS = [b"", b"{}", b"[]", b"null", b"1", b'"a"', b"{", b"\xff", b"\xff\xfe"]


def _hmac(secret: bytes, algorithm: hashes.HashAlgorithm) -> Sign:
    def sign(message: bytes) -> bytes:
        mac = hmac.HMAC(secret, algorithm)
        mac.update(message)
        return mac.finalize()

    return sign


def _ecdsa(key: ec.EllipticCurvePrivateKey, algorithm: hashes.HashAlgorithm, width: int) -> Sign:
    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm)))
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")

    return sign
