"""Opaque secrets: ``ks_<kind>_<43 base62 of 256 bits><6 base62 of CRC32>`` (security §1).

The checksum lets a mistyped or invented secret be rejected without a query, and secret scanners be sure of a match. It
is no protection: the 256 random bits are. Only the digest is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import zlib
from collections.abc import Callable
from enum import StrEnum
from typing import NoReturn

LONGEST = 128
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_VALUE_OF = {letter: value for value, letter in enumerate(_ALPHABET)}
_RANDOM_BYTES = 32
_RANDOM_WIDTH = 43
_CHECK_WIDTH = 6


class SecretKind(StrEnum):
    """The kind of a secret: part of its text and its digest, so that no kind passes for another."""

    refresh = "rt"
    secret_key = "sk"
    publishable_key = "pk"
    brand_token = "bt"
    magic = "ml"
    verify = "ev"
    reset = "pr"

    @property
    def prefix(self) -> str:
        """The prefix of every secret of this kind, for example ``ks_rt_``."""
        return f"ks_{self.value}_"


PATTERNS: dict[SecretKind, re.Pattern[str]] = {
    kind: re.compile(f"{kind.prefix}[0-9A-Za-z]{{{_RANDOM_WIDTH + _CHECK_WIDTH}}}") for kind in SecretKind
}
"""One pattern per kind, published for secret scanners; for ``fullmatch`` or ``search``."""

_KIND_OF_PREFIX = {kind.prefix: kind for kind in SecretKind}
_PREFIX_WIDTH = len(SecretKind.refresh.prefix)
_MADE_HERE = object()


class Secret:
    """A plaintext secret in memory, made only by :func:`generate`, :func:`parse` and :func:`successor`.

    ``repr``, ``str`` and formatting hide it, ``pickle``, ``copy`` and JSON encoders reject it, and ``==`` compares
    digests in constant time. Only :meth:`reveal` returns the text.
    """

    __slots__ = ("_text", "kind")

    kind: SecretKind

    def __init__(self, kind: SecretKind, text: str, made_here: object) -> None:
        if made_here is not _MADE_HERE:
            raise TypeError("a Secret comes from generate(), parse() or successor()")
        self.kind = kind
        self._text = text

    def reveal(self) -> str:
        """The plaintext, for the one response, mail or cookie that carries it."""
        return self._text

    def digest(self) -> bytes:
        """The stored form: 32 bytes, SHA-256 over ``kind ‖ 0 ‖ text``."""
        return hashlib.sha256(b"%s\0%s" % (self.kind.value.encode(), self._text.encode())).digest()

    @property
    def hint(self) -> str:
        """The prefix and the last four characters, by which the owner recognises it."""
        return f"{self.kind.prefix}…{self._text[-4:]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.digest(), other.digest())

    def __hash__(self) -> int:
        return hash(self.digest())

    def __repr__(self) -> str:
        return f"Secret({self.kind.prefix}…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be serialized")


def generate(kind: SecretKind, *, random: Callable[[int], bytes] = os.urandom) -> Secret:
    """A new secret of this kind; ``random(32)`` gives its 256 bits."""
    return _build(kind, random(_RANDOM_BYTES))


def parse(raw: str | None, *kinds: SecretKind) -> Secret | None:
    """Parse a secret; None when it is malformed or of none of the ``kinds`` (default: any).

    Checks length, prefix, alphabet and checksum, the cheapest first; no query.
    """
    if not isinstance(raw, str) or len(raw) > LONGEST:
        return None
    kind = _KIND_OF_PREFIX.get(raw[:_PREFIX_WIDTH])
    if kind is None or (kinds and kind not in kinds):
        return None
    if not PATTERNS[kind].fullmatch(raw):
        return None
    body = raw[:-_CHECK_WIDTH]
    # The alphabet is in ASCII order and the width is fixed: texts compare like their numbers.
    if body[_PREFIX_WIDTH:] > _GREATEST or raw[-_CHECK_WIDTH:] != _checksum(body):
        return None
    return Secret(kind, raw, _MADE_HERE)


def successor(rotation_key: bytes, secret: Secret, session_id: str, generation: int) -> Secret:
    """The refresh token after ``secret``: HMAC-SHA256(rotation key, secret bytes ‖ session id ‖ generation).

    Derived, not random, so that a replay within the grace period gets the same token although only digests are stored
    (security §3). ``generation`` is that of the new token, 8 bytes big-endian; with 32 bytes before and 8 after the
    session id, no two triples share a message.

    :raises ValueError: when ``secret`` is not a refresh token.
    """
    if secret.kind is not SecretKind.refresh:
        raise ValueError("only refresh tokens have successors")
    message = _random_bytes(secret.reveal()) + session_id.encode() + generation.to_bytes(8, "big")
    return _build(SecretKind.refresh, hmac.digest(rotation_key, message, "sha256"))


def _build(kind: SecretKind, random_bytes: bytes) -> Secret:
    if len(random_bytes) != _RANDOM_BYTES:
        raise ValueError(f"a secret is made of {_RANDOM_BYTES} bytes")
    body = kind.prefix + _base62(int.from_bytes(random_bytes, "big"), _RANDOM_WIDTH)
    return Secret(kind, body + _checksum(body), _MADE_HERE)


def _random_bytes(text: str) -> bytes:
    number = 0
    for letter in text[_PREFIX_WIDTH:-_CHECK_WIDTH]:
        number = number * 62 + _VALUE_OF[letter]
    return number.to_bytes(_RANDOM_BYTES, "big")


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_WIDTH)


def _base62(number: int, width: int) -> str:
    # Two letters at a time: half the divisions of a number of 256 bits.
    pairs: list[str] = []
    for _ in range((width + 1) // 2):
        number, value = divmod(number, 3844)
        pairs.append(_PAIRS[value])
    return "".join(reversed(pairs))[-width:]


_GREATEST = _base62(2 ** (8 * _RANDOM_BYTES) - 1, _RANDOM_WIDTH)
