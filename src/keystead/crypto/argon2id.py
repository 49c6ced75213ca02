"""Argon2id (RFC 9106) as PHC strings: hash, verify, and judge stored hashes. Blocking; see ``passwords``.

A stored hash is not trusted: one that is malformed, or would cost more than the limits of security §6, is treated as
no hash.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.low_level import ARGON2_VERSION, Type, error_to_str, hash_secret, hash_secret_raw, verify_secret

MOST_MEMORY_KIB: Final = 256 * 1024
MOST_TIME: Final = 10
MOST_PARALLELISM: Final = 4
_SALT_BYTES = 16
_HASH_BYTES = 32
_LEAST_SALT, _LEAST_HASH, _MOST_BYTES = 8, 16, 64
_LEAST_MEMORY_PER_LANE = 8
# The OWASP Password Storage Cheat Sheet's equivalent choices: (KiB, passes).
_STRONG_ENOUGH = ((47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5))
_LACK_OF_RESOURCES = {error_to_str(code) for code in (-22, -33)}
"""ARGON2_MEMORY_ALLOCATION_ERROR and ARGON2_THREAD_FAIL of argon2.h."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The cost parameters of a hash. The default is the server's: 35-52 ms of a core (OWASP minimum)."""

    memory_kib: int = 19_456
    time_cost: int = 2
    parallelism: int = 1

    @classmethod
    def for_tests(cls) -> Profile:
        """The cheapest profile, for unit tests; a server does not start with it."""
        return cls(_LEAST_MEMORY_PER_LANE, 1, 1)

    @property
    def is_acceptable(self) -> bool:
        """Whether a server may start with it: at least OWASP's minimum, and within the limits."""
        return self.is_within_limits and any(
            self.memory_kib >= memory and self.time_cost >= passes for memory, passes in _STRONG_ENOUGH
        )

    @property
    def is_within_limits(self) -> bool:
        """Whether a hash of this cost is computed at all."""
        return (
            1 <= self.parallelism <= MOST_PARALLELISM
            and _LEAST_MEMORY_PER_LANE * self.parallelism <= self.memory_kib <= MOST_MEMORY_KIB
            and 1 <= self.time_cost <= MOST_TIME
        )

    @property
    def work(self) -> int:
        """KiB written in all passes; the time of a hash grows with it."""
        return self.memory_kib * self.time_cost


@dataclass(frozen=True, slots=True)
class StoredHash:
    """A stored hash that may be verified against."""

    phc: str
    profile: Profile
    is_full_length: bool

    @classmethod
    def read(cls, phc: str | None) -> StoredHash | None:
        """The hash in a PHC string of Argon2id version 19; None when it is malformed or beyond the limits."""
        if not phc or not phc.isascii() or not phc.isprintable():
            return None
        try:
            found = extract_parameters(phc)
        except InvalidHashError:
            return None
        profile = Profile(found.memory_cost, found.time_cost, found.parallelism)
        is_sized = _LEAST_SALT <= found.salt_len <= _MOST_BYTES and _LEAST_HASH <= found.hash_len <= _MOST_BYTES
        if found.type is not Type.ID or found.version != ARGON2_VERSION or not is_sized or not profile.is_within_limits:
            return None
        return cls(phc, profile, found.salt_len >= _SALT_BYTES and found.hash_len >= _HASH_BYTES)

    def is_weaker_than(self, profile: Profile) -> bool:
        """Whether to rehash the password at the next login."""
        mine = self.profile
        return mine.memory_kib < profile.memory_kib or mine.time_cost < profile.time_cost or not self.is_full_length


def make(profile: Profile, password: bytes, *, random: Callable[[int], bytes] = os.urandom) -> str:
    """The PHC string for a password, with a random salt of 16 bytes."""
    return hash_secret(
        password,
        random(_SALT_BYTES),
        time_cost=profile.time_cost,
        memory_cost=profile.memory_kib,
        parallelism=profile.parallelism,
        hash_len=_HASH_BYTES,
        type=Type.ID,
    ).decode()


def matches(profile: Profile, stored: str | None, password: bytes) -> bool:
    """Whether the password is that of the stored hash, in about the same time for every account.

    Work that a missing, malformed or weaker hash saves is done all the same, so that response times do not reveal
    accounts that do not exist or were not rehashed yet.

    :raises argon2.exceptions.Argon2Error: when there is not enough memory.
    """
    usable = StoredHash.read(stored)
    is_match = _verify(usable.phc, password) if usable else None
    missing = profile.work - (usable.profile.work if usable and is_match is not None else 0)
    if missing > 0:
        _spend(missing, profile, password)
    return is_match is True


def _verify(phc: str, password: bytes) -> bool | None:
    """Whether the hash matches; None when Argon2's own decoder rejects it."""
    try:
        return verify_secret(phc.encode(), password, Type.ID)
    except VerifyMismatchError:
        return False
    except VerificationError as error:
        if str(error) in _LACK_OF_RESOURCES:
            raise
        return None


def _spend(work: int, profile: Profile, password: bytes) -> None:
    """Compute a hash that costs ``work``, and drop it."""
    hash_secret_raw(
        password,
        os.urandom(_SALT_BYTES),
        time_cost=profile.time_cost,
        memory_cost=max(_LEAST_MEMORY_PER_LANE * profile.parallelism, work // profile.time_cost),
        parallelism=profile.parallelism,
        hash_len=_HASH_BYTES,
        type=Type.ID,
    )
