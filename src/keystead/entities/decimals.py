"""Decimals as text that sorts as numbers do, byte by byte and so alike on both databases.

SQLite has no exact decimal, and a float would lose digits. A stored decimal is::

    sign (0 negative, 1 not) ‖ 20 digits before the point ‖ 18 after it ‖ 2 digits: how many of the 18 were written

A negative number's digits are complemented to nine, so that -2 sorts before -1. The last part only remembers that
``12.50`` was written with two digits; two spellings of one number differ in it alone, so that the first 39 characters
are the number.
"""

from __future__ import annotations

import re
from decimal import Decimal

WHOLE_DIGITS = 20
FRACTION_DIGITS = 18
KEY_LENGTH = 1 + WHOLE_DIGITS + FRACTION_DIGITS
"""The leading characters that compare as the number."""

_DECIMAL = re.compile(rf"(-?)0*(\d{{1,{WHOLE_DIGITS}}})(?:\.(\d{{1,{FRACTION_DIGITS}}}))?", re.ASCII)
_COMPLEMENT = str.maketrans("0123456789", "9876543210")


def parse(text: str) -> Decimal:
    """The number, with as many digits after the point as were written.

    :raises ValueError: unless ``text`` is a plain decimal of at most 20 digits before and 18 after the point.
    """
    if len(text) > 64 or not _DECIMAL.fullmatch(text):
        raise ValueError("must be a decimal number such as 12.50, with at most 20 digits before the point and 18 after")
    return Decimal(text)


def encode(value: Decimal) -> str:
    """The stored text of what :func:`parse` gave."""
    found = _DECIMAL.fullmatch(f"{value:f}")
    if found is None:
        raise ValueError("not a decimal that can be stored")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    digits = whole.rjust(WHOLE_DIGITS, "0") + fraction.ljust(FRACTION_DIGITS, "0")
    if sign and value:
        return f"0{digits.translate(_COMPLEMENT)}{len(fraction):02}"
    return f"1{digits}{len(fraction):02}"


def decode(stored: str) -> str:
    """The number as it was written, without leading zeros and without the sign of zero."""
    digits, scale = stored[1:KEY_LENGTH], int(stored[KEY_LENGTH:])
    sign = ""
    if stored[0] == "0":
        sign, digits = "-", digits.translate(_COMPLEMENT)
    whole = digits[:WHOLE_DIGITS].lstrip("0") or "0"
    return f"{sign}{whole}.{digits[WHOLE_DIGITS:][:scale]}" if scale else f"{sign}{whole}"
