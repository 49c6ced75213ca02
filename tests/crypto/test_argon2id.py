"""Argon2id hashes, and hostile stored hashes."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError, VerifyMismatchError
from argon2.low_level import Type, hash_secret, hash_secret_raw, verify_secret
from hypothesis import given
from hypothesis import strategies as st

from keystead.crypto import argon2id
from keystead.crypto.argon2id import Profile, StoredHash

CHEAP = Profile.for_tests()
PASSWORD = b"rainbow123"
SALT, DIGEST = "c2FsdHNhbHRzYWx0c2FsdA", "ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGk"


@pytest.fixture
def work_done(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The work of every hash that was computed, in KiB times passes."""
    done: list[int] = []

    def verify(phc: bytes, password: bytes, kind: Type) -> bool:
        stored = StoredHash.read(phc.decode())
        assert stored is not None
        try:
            result = verify_secret(phc, password, kind)
        except VerifyMismatchError:
            done.append(stored.profile.work)
            raise
        done.append(stored.profile.work)
        return result

    def compute(*arguments: Any, **costs: Any) -> bytes:
        done.append(costs["memory_cost"] * costs["time_cost"])
        return hash_secret_raw(*arguments, **costs)

    monkeypatch.setattr(argon2id, "verify_secret", verify)
    monkeypatch.setattr(argon2id, "hash_secret_raw", compute)
    return done


def test_a_password_matches_its_own_hash_only() -> None:
    stored = argon2id.make(CHEAP, PASSWORD)
    assert stored != argon2id.make(CHEAP, PASSWORD)
    assert argon2id.matches(CHEAP, stored, PASSWORD)
    for other in (PASSWORD + b" ", b""):
        assert not argon2id.matches(CHEAP, stored, other)
    phc = argon2id.make(Profile(64, 3, 2), PASSWORD)
    assert phc.startswith("$argon2id$v=19$m=64,t=3,p=2$")
    assert PasswordHasher().verify(phc, PASSWORD)


def test_passwords_are_not_truncated_at_72_bytes() -> None:
    """A43: bcrypt would."""
    stored = argon2id.make(CHEAP, b"x" * 72 + b"a")
    assert not argon2id.matches(CHEAP, stored, b"x" * 72 + b"b")
    assert not argon2id.matches(CHEAP, stored, b"x" * 72)


HOSTILE = [
    None, "", "rainbow123", f"$argon2id$v=19$m=262145,t=2,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=4294967295,t=2,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=99999999999999999999,t=2,p=1${SALT}${DIGEST}", f"$argon2id$v=19$m=8,t=11,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=8,t=4294967295,p=1${SALT}${DIGEST}", f"$argon2id$v=19$m=64,t=1,p=5${SALT}${DIGEST}",
    f"$argon2id$v=19$m=8,t=1,p=0${SALT}${DIGEST}", f"$argon2id$v=19$m=8,t=0,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=0,t=1,p=1${SALT}${DIGEST}", f"$argon2id$v=19$m=7,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=8,t=1,p=2${SALT}${DIGEST}", f"$argon2id$v=19$m=-8,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=08,t=1,p=1${SALT}${DIGEST}", f"$argon2id$v=19$m=8,t=1,p=\u0661${SALT}${DIGEST}",
    f"$argon2id$v=19$t=1,m=8,p=1${SALT}${DIGEST}", f"$argon2id$v=19$m=8,t=1,p=1,keyid=AA${SALT}${DIGEST}",
    f"$argon2id$v=16$m=8,t=1,p=1${SALT}${DIGEST}", f"$argon2id$m=8,t=1,p=1${SALT}${DIGEST}",
    f"$argon2i$v=19$m=8,t=1,p=1${SALT}${DIGEST}", f"$argon2d$v=19$m=8,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}$", f"$argon2id$v=19$m=8,t=1,p=1$${DIGEST}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}$AAAA", f"$argon2id$v=19$m=8,t=1,p=1$AAAA${DIGEST}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${DIGEST}=", f"$argon2id$v=19$m=8,t=1,p=1${SALT}${DIGEST}\n",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${DIGEST}\0", f"$argon2id$v=19$m=8,t=1,p=1${SALT}${DIGEST[:-1]}B",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${'A' * 100_000}", f" $argon2id$v=19$m=8,t=1,p=1${SALT}${DIGEST}",
    "$2b$12$abcdefghijklmnopqrstuuZ1jd8fYqX8S4b1s6c7l9f0g2h3j4k5l", "é" * 60, "\ud800",
]  # fmt: skip


def test_a_lack_of_memory_is_not_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise VerificationError("Memory allocation error")

    monkeypatch.setattr(argon2id, "verify_secret", fail)
    with pytest.raises(VerificationError):
        argon2id.matches(CHEAP, argon2id.make(CHEAP, PASSWORD), PASSWORD)


@pytest.mark.parametrize(("salt", "length"), [(b"x" * 16, 65), (b"x" * 16, 15), (b"x" * 65, 32)])
def test_a_hash_of_another_size_matches_nothing(salt: bytes, length: int) -> None:
    """A47: sizes have limits of their own, although the password is right."""
    stored = hash_secret(PASSWORD, salt, 1, 8, 1, length, Type.ID).decode()
    assert not argon2id.matches(CHEAP, stored, PASSWORD)


@pytest.mark.parametrize("stored", HOSTILE, ids=lambda stored: repr(stored)[:48])
def test_a_hostile_stored_hash_counts_as_none(stored: str | None, work_done: list[int]) -> None:
    """A47: it is rejected after the work of any other verification."""
    assert argon2id.matches(CHEAP, stored, PASSWORD) is False
    assert work_done == [CHEAP.work]


@pytest.mark.parametrize("cost", ["m=262144,t=1,p=1", "m=8,t=10,p=1", "m=32,t=1,p=4", "m=8,t=1,p=1"])
def test_the_limits_are_inclusive(cost: str) -> None:
    assert StoredHash.read(f"$argon2id$v=19${cost}${SALT}${DIGEST}") is not None


@given(st.text(alphabet="$argon2idv=mtp,0123456789ABCDEFabcdef+/", max_size=150) | st.text())
def test_any_stored_text_is_rejected_without_an_error(stored: str) -> None:
    assert argon2id.matches(CHEAP, stored, PASSWORD) is False


@given(st.integers(0, 200), st.characters())
def test_any_damaged_hash_is_judged_without_an_error(place: int, letter: str) -> None:
    damaged = f"$argon2id$v=19$m=8,t=1,p=1${SALT}${DIGEST}"
    damaged = damaged[:place] + letter + damaged[place + 1 :]
    if (stored := StoredHash.read(damaged)) and stored.profile.work > 1000:
        return
    assert argon2id.matches(CHEAP, damaged, PASSWORD) is False


class TestEqualWork:
    """A40, A46: the same work with a hash, without one, and with a weaker one."""

    def test_without_a_hash(self, work_done: list[int]) -> None:
        profile = Profile(64, 2, 1)
        argon2id.matches(profile, None, PASSWORD)
        argon2id.matches(profile, argon2id.make(profile, PASSWORD), PASSWORD)
        assert work_done == [128, 128]

    @pytest.mark.parametrize("old", [Profile(32, 2, 1), Profile(64, 1, 1), Profile(16, 1, 1)], ids=str)
    def test_with_a_weaker_hash(self, old: Profile, work_done: list[int]) -> None:
        profile = Profile(64, 2, 1)
        for password in (PASSWORD, b"another"):
            work_done.clear()
            assert argon2id.matches(profile, argon2id.make(old, PASSWORD), password) is (password == PASSWORD)
            assert sum(work_done) == profile.work

    def test_with_a_stronger_hash_nothing_is_added(self, work_done: list[int]) -> None:
        argon2id.matches(CHEAP, argon2id.make(Profile(64, 2, 1), PASSWORD), PASSWORD)
        assert work_done == [128]


class TestProfile:
    def test_the_default_is_the_servers_and_acceptable(self) -> None:
        assert Profile() == Profile(memory_kib=19_456, time_cost=2, parallelism=1)
        assert Profile().is_acceptable

    @pytest.mark.parametrize(
        ("profile", "is_acceptable"),
        [
            (Profile.for_tests(), False), (Profile(19_455, 2), False), (Profile(19_456, 1), False),
            (Profile(47_104, 1), True), (Profile(7_168, 5), True), (Profile(262_144, 10, 4), True),
            (Profile(262_145, 2), False), (Profile(19_456, 11), False), (Profile(19_456, 2, 5), False),
            (Profile(19_456, 2, 0), False),
        ],
        ids=str,
    )  # fmt: skip
    def test_what_a_server_may_start_with(self, profile: Profile, is_acceptable: bool) -> None:
        assert profile.is_acceptable is is_acceptable

    @pytest.mark.parametrize(
        ("stored", "is_weaker"),
        [
            (Profile(64, 2), False), (Profile(128, 3), False), (Profile(63, 2), True), (Profile(64, 1), True),
            (Profile(128, 1), True),
        ],
        ids=str,
    )  # fmt: skip
    def test_weaker_hashes_are_made_again(self, stored: Profile, is_weaker: bool) -> None:
        read = StoredHash.read(argon2id.make(stored, PASSWORD))
        assert read is not None
        assert read.is_weaker_than(Profile(64, 2)) is is_weaker

    def test_a_short_salt_or_digest_is_made_again(self) -> None:
        short = base64.b64encode(b"x" * 16).decode().rstrip("=")
        read = StoredHash.read(f"$argon2id$v=19$m=64,t=2,p=1${SALT}${short}")
        assert read is not None
        assert read.is_weaker_than(Profile(64, 2))
