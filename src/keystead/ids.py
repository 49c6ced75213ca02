"""New ids: UUIDv7 (RFC 9562 §5.7), so that rows made later sort later and no id can be guessed."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_A = 0xFFF << 64
_RANDOM_B = (1 << 62) - 1


def new_id(now: datetime, *, random: Callable[[int], bytes] = os.urandom) -> str:
    """A fresh UUIDv7 in its canonical 36-character form.

    ``now`` fills the 48-bit millisecond timestamp; ``random(n)`` returns the ``n`` bytes behind it.
    """
    milliseconds = int(now.timestamp() * 1000)
    bits = int.from_bytes(random(10), "big")
    value = (milliseconds << 80) | _VERSION | (bits & _RANDOM_A) | _VARIANT | (bits & _RANDOM_B)
    return str(UUID(int=value))
