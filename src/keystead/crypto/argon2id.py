"""Argon2id (RFC 9106) as PHC strings: making, checking, judging what is stored. Blocking; see ``passwords``.

A stored hash is data from a database and is not believed: one that is malformed, or would cost more than the
limits of security §6, counts as no hash at all.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type, hash_secret, verify_secret

MOST_MEMORY_KIB = 256 * 1024
MOST_TIME = 10
MOST_PARALLELISM = 4
_SALT_BYTES = 16
_HASH_BYTES = 32
_LEAST_MEMORY_PER_LANE = 8
_LETTER = "[A-Za-z0-9+/]"
# Without padding, the unused bits of the last letter zero: what the C library decodes. Salt of 8..64 bytes,
# hash of 16..64.
_BASE64 = f"(?:{_LETTER}{{4}})*(?:{_LETTER}[AQgw]|{_LETTER}{{2}}[AEIMQUYcgkosw048])?"
_PHC = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,6}),t=([1-9][0-9]?),p=([1-9])"
    rf"\$(?=[^$]{{11,86}}\$)({_BASE64})\$(?=.{{22,86}}$)({_BASE64})"
)
_SALT_TEXT = 22
_HASH_TEXT = 43
# The OWASP Password Storage Cheat Sheet's equivalent choices: (KiB, passes).
_STRONG_ENOUGH = ((47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5))


@dataclass(frozen=True, slots=True)
class Profile:
    """What one hash costs. The default is the server's: 35-52 ms of a core (OWASP minimum)."""

    memory_kib: int = 19_456
    time_cost: int = 2
    parallelism: int = 1

    @classmethod
    def for_tests(cls) -> Profile:
        """The cheapest there is: for unit tests. Not acceptable to a server."""
        return cls(_LEAST_MEMORY_PER_LANE, 1, 1)

    @property
    def is_acceptable(self) -> bool:
        """Whether a server may start with it: no weaker than OWASP's minimum, and within the limits."""
        return self._is_within_limits and any(
            self.memory_kib >= memory and self.time_cost >= passes for memory, passes in _STRONG_ENOUGH
        )

    @property
    def _is_within_limits(self) -> bool:
        return (
            1 <= self.parallelism <= MOST_PARALLELISM
            and _LEAST_MEMORY_PER_LANE * self.parallelism <= self.memory_kib <= MOST_MEMORY_KIB
            and 1 <= self.time_cost <= MOST_TIME
        )

    @property
    def work(self) -> int:
        """KiB written in all passes together; the time of a hash grows with it."""
        return self.memory_kib * self.time_cost


@dataclass(frozen=True, slots=True)
class StoredHash:
    """A stored hash that was found fit to be checked against."""

    phc: str
    profile: Profile
    is_full_length: bool

    @classmethod
    def read(cls, phc: str | None) -> StoredHash | None:
        """The hash in a PHC string of Argon2id version 19; None when there is none fit to be used."""
        parts = _PHC.fullmatch(phc) if phc else None
        if phc is None or parts is None:
            return None
        profile = Profile(int(parts[1]), int(parts[2]), int(parts[3]))
        is_full_length = len(parts[4]) >= _SALT_TEXT and len(parts[5]) >= _HASH_TEXT
        return cls(phc, profile, is_full_length) if profile._is_within_limits else None

    def is_weaker_than(self, profile: Profile) -> bool:
        """Whether the hash is to be made again at the next login."""
        mine = self.profile
        return mine.memory_kib < profile.memory_kib or mine.time_cost < profile.time_cost or not self.is_full_length


def make(profile: Profile, password: bytes, *, random: Callable[[int], bytes] = os.urandom) -> str:
    """The PHC string for a password, with a fresh salt of 16 bytes."""
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
    """Whether the password is the one of the stored hash; one function for all paths, and about one length.

    Without a usable hash a hash that nothing matches is checked instead. A hash weaker than ``profile``
    is made up for by as much more work as it lacks, so that accounts not yet rehashed do not stand out by
    their time.

    :raises argon2.exceptions.Argon2Error: when there is not enough memory.
    """
    usable = StoredHash.read(stored)
    is_match = _checked(usable.phc if usable else _unmatchable(profile), password) and usable is not None
    missing = profile.work - usable.profile.work if usable else 0
    if missing > 0:
        _checked(_unmatchable(_worth(missing, profile)), password)
    return is_match


def _worth(work: int, profile: Profile) -> Profile:
    least = _LEAST_MEMORY_PER_LANE * profile.parallelism
    return Profile(max(least, work // profile.time_cost), profile.time_cost, profile.parallelism)


def _checked(phc: str, password: bytes) -> bool:
    try:
        return verify_secret(phc.encode(), password, Type.ID)
    except VerifyMismatchError:
        return False


def _unmatchable(profile: Profile) -> str:
    """A well-formed hash of nothing: as long to check as a real one, and right for 1 password in 2**256."""
    salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (_SALT_BYTES, _HASH_BYTES))
    cost = f"m={profile.memory_kib},t={profile.time_cost},p={profile.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"
