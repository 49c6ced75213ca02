"""New ids: UUIDv7 (RFC 9562 §5.7), which sort by creation time and cannot be guessed."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM = (1 << 62) - 1


def new_id(now: datetime, *, random: Callable[[int], bytes] = os.urandom) -> str:
    """A fresh UUIDv7 in its canonical 36-character form.

    ``now`` fills the 48-bit millisecond timestamp and, as RFC 9562 §6.2 (method 3) allows, the 12 bits behind it with
    the fraction of the millisecond; ``random(n)`` returns the ``n`` bytes of the rest.
    """
    passed = now - _EPOCH
    milliseconds, fraction = divmod(passed.microseconds, 1000)
    milliseconds += (passed.days * 86_400 + passed.seconds) * 1000
    value = (milliseconds << 80) | _VERSION | ((fraction * 4096 // 1000) << 64) | _VARIANT
    digits = f"{value | (int.from_bytes(random(8), 'big') & _RANDOM):032x}"
    # uuid.UUID formats the same text, three times as slowly.
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
