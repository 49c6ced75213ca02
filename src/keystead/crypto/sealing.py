"""Authenticated encryption at rest: AES-256-GCM, with the random nonce in front of the ciphertext.

The id of the row that a value belongs to is its associated data: copied to another row, it does not decrypt.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12


class SealBroken(Exception):
    """The value does not decrypt: wrong key, wrong row, or damage."""


def seal(key: bytes, plain: bytes, belongs_to: str, *, random: Callable[[int], bytes] = os.urandom) -> bytes:
    """Encrypt ``plain``: 12 bytes of nonce, then ciphertext and tag. ``key`` has 32 bytes and one purpose."""
    nonce = random(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, belongs_to.encode())


def unseal(key: bytes, sealed: bytes, belongs_to: str) -> bytes:
    """Decrypt what :func:`seal` returned.

    :raises SealBroken: when it does not decrypt.
    """
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], belongs_to.encode())
    except (InvalidTag, ValueError) as error:
        raise SealBroken(type(error).__name__) from None
