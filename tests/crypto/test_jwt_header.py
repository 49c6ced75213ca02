"""Hostile algorithms and headers (attacks A01-A07): whatever they are, None, and never an exception."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keystead.crypto.signing import SigningKey
from tests.crypto.tokens import GOOD, HEADER, KEY, MISSING, PAYLOAD, as_json, signed, verified, with_change


def test_the_pattern_itself_is_accepted() -> None:
    """Else every refusal below would prove nothing."""
    assert verified(signed(HEADER, PAYLOAD)) is not None
    assert verified(GOOD) is not None


class TestAlgorithms:
    # A01
    @pytest.mark.parametrize("alg", ["none", "None", "nOnE", "NONE", "", None, 0, ["ES256"], MISSING])
    def test_none(self, alg: Any) -> None:
        header = with_change(HEADER, "alg", alg)
        token = signed(header, PAYLOAD)
        assert verified(token) is None
        assert verified(token.rpartition(".")[0] + ".") is None
        assert verified(token.rpartition(".")[0]) is None

    # A02
    @pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512", "ES256"], ids=lambda alg: f"{alg} keyed with public")
    def test_hmac_with_the_public_key(self, alg: str) -> None:
        public = KEY.private.public_key()
        texts = [
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
            json.dumps(KEY.verification.jwk).encode(),
        ]
        for text in texts:
            for algorithm in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
                assert verified(signed(HEADER | {"alg": alg}, PAYLOAD, mac(text, algorithm))) is None

    # A03
    def test_another_key_of_another_algorithm_with_our_kid(self) -> None:
        edwards = ed25519.Ed25519PrivateKey.generate()
        wider = ec.generate_private_key(ec.SECP384R1())

        def es384(message: bytes) -> bytes:
            r, s = decode_dss_signature(wider.sign(message, ec.ECDSA(hashes.SHA384())))
            return r.to_bytes(48, "big") + s.to_bytes(48, "big")

        for alg, sign in (("EdDSA", edwards.sign), ("Ed25519", edwards.sign), ("ES384", es384)):
            assert verified(signed(HEADER | {"alg": alg}, PAYLOAD, sign)) is None
            assert verified(signed(HEADER, PAYLOAD, sign)) is None

    def test_another_key_of_our_algorithm_with_our_kid(self) -> None:
        assert verified(signed(HEADER, PAYLOAD, SigningKey.generate().signature)) is None

    @pytest.mark.parametrize("signature", [b"\0" * 64, b"\xff" * 64, b"\0" * 63 + b"\1"], ids=repr)
    def test_degenerate_signatures(self, signature: bytes) -> None:
        """CVE-2022-21449: r and s of zero."""
        assert verified(signed(HEADER, PAYLOAD, lambda _: signature)) is None

    def test_a_der_signature(self) -> None:
        assert verified(signed(HEADER, PAYLOAD, lambda m: KEY.private.sign(m, ec.ECDSA(hashes.SHA256())))) is None


def mac(key: bytes, algorithm: hashes.HashAlgorithm) -> Callable[[bytes], bytes]:
    def sign(message: bytes) -> bytes:
        digest = hmac.HMAC(key, algorithm)
        digest.update(message)
        return digest.finalize()

    return sign


class TestHeader:
    # A04, A05
    @pytest.mark.parametrize(
        "extra",
        [
            {"crit": []},
            {"crit": ["exp"], "exp": 1},
            {"crit": ["b64"], "b64": False},
            {"b64": False},
            {"b64": True},
            {"zip": "DEF"},
            {"jwk": KEY.verification.jwk},
            {"jku": "https://evil.example/jwks.json"},
            {"x5u": "https://evil.example/cert.pem"},
            {"x5c": ["MIIB"]},
            {"x5t": "AAAA"},
            {"cty": "JWT"},
            {"": ""},
        ],
        ids=lambda extra: " ".join(extra),
    )
    def test_any_further_member(self, extra: dict[str, Any]) -> None:
        assert verified(signed(HEADER | extra, PAYLOAD)) is None

    # A05
    def test_the_attackers_own_key_inside(self) -> None:
        theirs = SigningKey.generate()
        for kid in (KEY.kid, theirs.kid):
            header = HEADER | {"kid": kid, "jwk": theirs.verification.jwk}
            assert verified(signed(header, PAYLOAD, theirs.signature)) is None

    # A06
    @pytest.mark.parametrize(
        "kid",
        [
            "../../dev/null",
            "' OR 1=1--",
            "x" * 1000,
            "x" * 10_240,
            1,
            True,
            [KEY.kid],
            {"kid": KEY.kid},
            None,
            "",
            "ключ",
            "\ud800",
            KEY.kid + "=",
            KEY.kid + "\n",
            KEY.kid.lower(),
            MISSING,
        ],
        ids=lambda kid: repr(kid).lower().replace(KEY.kid.lower(), "ours")[:20],
    )
    def test_kid(self, kid: Any) -> None:
        assert verified(signed(with_change(HEADER, "kid", kid), PAYLOAD)) is None

    # A07
    @pytest.mark.parametrize(
        "typ", ["JWT", "id+jwt", "AT+JWT", "at+JWT", "application/at+jwt", "at+jwt ", "", None, 1, MISSING]
    )
    def test_typ(self, typ: Any) -> None:
        assert verified(signed(with_change(HEADER, "typ", typ), PAYLOAD)) is None

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"{}",
            b"[]",
            b"null",
            b"1",
            b'"ES256"',
            b"{",
            b"\xff\xfe",
            b"[" * 1000,
            b'{"a":' * 200,
            b"\xef\xbb\xbf" + as_json(HEADER),
            json.dumps(HEADER).encode("utf-16"),
            as_json(HEADER)[:-1] + b',"alg":"ES256"}',
            as_json(HEADER)[:-1] + b',"alg":"none"}',
            b'{"alg":"none",' + as_json(HEADER)[1:],
            as_json(HEADER) + as_json(HEADER),
            as_json(HEADER) + b"\0",
        ],
        ids=lambda header: repr(header).replace(KEY.kid, "ours")[:24],
    )
    def test_what_is_no_header(self, header: bytes) -> None:
        assert verified(signed(header, PAYLOAD)) is None
