"""Opaque secrets: generation, parsing, digests, successors."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import pickle
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.crypto import secrets
from keystead.crypto.secrets import PATTERNS, Secret, SecretKind, generate, parse, successor

ROTATION_KEY = b"k" * 32
every_kind = pytest.mark.parametrize("kind", list(SecretKind))


def fixed(kind: SecretKind = SecretKind.refresh, filler: bytes = b"\x01") -> Secret:
    return generate(kind, random=lambda size: filler * size)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(SecretKind))
def test_every_256_bits_have_one_text_of_one_width(random_bytes: bytes, kind: SecretKind) -> None:
    text = generate(kind, random=lambda _: random_bytes).reveal()
    assert len(text) == 6 + 43 + 6
    assert PATTERNS[kind].fullmatch(text)
    assert parse(text, kind) is not None
    assert secrets._random_bytes(text) == random_bytes


@every_kind
def test_a_secret_of_another_kind_is_refused(kind: SecretKind) -> None:
    text = generate(kind).reveal()
    others = [other for other in SecretKind if other is not kind]
    assert parse(text, *others) is None


def test_the_digest_is_sha256_over_kind_zero_text_and_compares_secrets() -> None:
    secret, key = fixed(), fixed(SecretKind.secret_key)
    assert secret.digest() == hashlib.sha256(b"rt\0" + secret.reveal().encode()).digest()
    assert (fixed(), hash(fixed())) == (secret, hash(secret))
    for other in (fixed(filler=b"\x02"), fixed(SecretKind.magic), secret.reveal()):
        assert secret != other
    assert key.hint == f"ks_sk_…{key.reveal()[-4:]}"


@given(st.integers(0, 54), st.characters())
def test_one_changed_character_is_refused(place: int, letter: str) -> None:
    text = fixed().reveal()
    changed = text[:place] + letter + text[place + 1 :]
    assert parse(changed) is None or changed == text


@given(st.text(max_size=140))
def test_any_text_is_refused_without_an_error(raw: str) -> None:
    assert parse(raw) is None
    assert parse("ks_rt_" + raw) is None


def with_checksum(body: str) -> str:
    return body + secrets._base62(zlib.crc32(body.encode()), 6)


HOSTILE: list[Any] = [
    *(None, "", 0, b"ks_rt_", ["ks_rt_"], "ks_rt_", "x" * 1_000_000, fixed().reveal() * 3),
    *("ks_xx_" + fixed().reveal()[6:], "KS_RT_" + fixed().reveal()[6:], fixed().reveal()[:-1]),
    *(fixed().reveal() + "\n", " " + fixed().reveal(), fixed().reveal() + "0"),
    # Arabic digits are digits to str.isdigit and to \d, not to us.
    with_checksum("ks_rt_" + "\u0661" * 43),
    # A good check sum over a number of more than 256 bits: a second text for nothing.
    with_checksum("ks_rt_" + "z" * 43),
    with_checksum("ks_rt_" + "1" * 42),
    with_checksum("ks_rt_" + "1" * 44),
]


@pytest.mark.parametrize("raw", HOSTILE, ids=lambda raw: repr(raw)[:24])
def test_a_hostile_shape_is_refused(raw: Any) -> None:
    assert parse(raw) is None


def test_the_secret_is_hidden_and_stays_in_the_process() -> None:
    secret = fixed()
    random_part = secret.reveal()[6:-6]
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret])):
        assert random_part not in shown
        assert shown.strip("[]") == "Secret(ks_rt_…)"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, vars):
        with pytest.raises(TypeError):
            leak(secret)


def test_a_secret_is_made_only_here() -> None:
    with pytest.raises(TypeError):
        Secret(SecretKind.refresh, fixed().reveal(), object())
    with pytest.raises(ValueError):
        generate(SecretKind.refresh, random=lambda _: b"too short")


class TestSuccessor:
    def test_it_is_a_refresh_token_that_changes_with_every_input(self) -> None:
        token = fixed()
        first, again, *others = [
            successor(ROTATION_KEY, token, "session", 2), successor(ROTATION_KEY, token, "session", 2),
            successor(b"q" * 32, token, "session", 2), successor(ROTATION_KEY, fixed(filler=b"\x02"), "session", 2),
            successor(ROTATION_KEY, token, "session2", 2), successor(ROTATION_KEY, token, "session", 3),
        ]  # fmt: skip
        assert parse(first.reveal(), SecretKind.refresh) == first == again
        assert len({secret.reveal() for secret in (first, *others)}) == 5

    def test_it_is_hmac_sha256_over_secret_session_generation(self) -> None:
        expected = hmac.digest(ROTATION_KEY, b"\x01" * 32 + b"session" + bytes([0] * 7 + [2]), "sha256")
        assert successor(ROTATION_KEY, fixed(), "session", 2) == generate(SecretKind.refresh, random=lambda _: expected)

    def test_only_refresh_tokens_have_one(self) -> None:
        with pytest.raises(ValueError):
            successor(ROTATION_KEY, fixed(SecretKind.secret_key), "session", 2)
