"""Hostile access tokens are rejected by ``jwt.verify``: None, and never an exception."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keystead.crypto import jwt, token_cache
from keystead.crypto.jwt import Claims
from keystead.crypto.signing import SigningKey
from keystead.crypto.token_cache import TokenCache
from tests.forging import Forge, decode, encode
from tests.hostile_tokens import ATTACKS, hostile_tokens, mutations, too_long

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ISSUER = "https://auth.example.com"
KEY = SigningKey.generate()
KEYS = {KEY.kid: KEY.verification}
FORGE = Forge(KEY, ISSUER, NOW, brand="brand", user="user", session="session")
GOOD = FORGE.good


def verified(raw: Any) -> Claims | None:
    return jwt.verify(raw, KEYS, ISSUER, NOW)


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_tokens_are_rejected(attack: str) -> None:
    assert verified(GOOD) is not None, "else a rejection would prove nothing"
    assert [case for case, token in hostile_tokens(attack, FORGE).items() if verified(token) is not None] == []


@pytest.mark.parametrize("raw", [None, 0, b"", GOOD.encode(), [GOOD], {"raw": GOOD}, "", "\ud800"], ids=range(8))
def test_other_types_and_texts_are_rejected(raw: Any) -> None:
    assert verified(raw) is None
    assert TokenCache().verify(raw, KEYS, ISSUER, NOW) is None


def test_the_brand_is_the_one_of_aud() -> None:
    claims = verified(FORGE.with_payload(aud="urn:keystead:brand:other"))
    assert claims is not None
    assert claims.brand_id == "other"


@pytest.mark.attack("A12")
def test_ten_thousand_mutations_are_rejected() -> None:
    assert [token for token in mutations(FORGE, 10_000, seed=1) if verified(token) is not None] == []


@pytest.mark.attack("A12")
def test_every_flipped_bit_is_rejected() -> None:
    head, payload, signature = GOOD.split(".")
    for part, bits in ((payload, 8 * len(decode(payload))), (signature, 512)):
        for bit in range(bits):
            value = bytearray(decode(part))
            value[bit // 8] ^= 1 << (bit % 8)
            assert verified(".".join([head, payload, signature]).replace(part, encode(bytes(value)))) is None
    for place in range(len(GOOD)):
        for bit in range(7):
            assert verified(GOOD[:place] + chr(ord(GOOD[place]) ^ (1 << bit)) + GOOD[place + 1 :]) is None


@pytest.mark.attack("A13")
def test_of_a_long_token_only_the_length_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwt, "_TOKEN", None)
    monkeypatch.setattr(token_cache, "hashlib", None)
    for token in too_long(FORGE).values():
        assert verified(token) is None
        assert TokenCache().verify(token, KEYS, ISSUER, NOW) is None


@given(st.text(), st.text(), st.text())
def test_any_text_in_three_parts_is_rejected(first: str, second: str, third: str) -> None:
    assert verified(f"{first}.{second}.{third}") is None


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(list(FORGE.payload)), st.integers() | st.text() | st.booleans() | st.none()))
def test_claims_that_are_accepted_have_the_right_types(values: dict[str, Any]) -> None:
    if verified(FORGE.with_payload(**values)) is not None:
        assert all(type(value) is type(FORGE.payload[name]) for name, value in values.items())
