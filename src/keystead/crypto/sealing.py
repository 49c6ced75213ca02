"""Authenticated encryption of what the database keeps: AES-256-GCM, a random nonce in front of the ciphertext.

What a value belongs to (a key's id, a row's) is its associated data: moved elsewhere it does not open.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12


class SealBroken(Exception):
    """The value does not open: another key, another place, or damage."""


def seal(key: bytes, plain: bytes, belongs_to: str, *, random: Callable[[int], bytes] = os.urandom) -> bytes:
    """12 bytes of nonce, then ciphertext and tag. ``key`` has 32 bytes and serves one purpose."""
    nonce = random(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, belongs_to.encode())


def unseal(key: bytes, sealed: bytes, belongs_to: str) -> bytes:
    """What :func:`seal` was given.

    :raises SealBroken: when it does not open.
    """
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], belongs_to.encode())
    except (InvalidTag, ValueError) as error:
        raise SealBroken(type(error).__name__) from None
