"""Readers: validate and normalize the values of each type of field; and the encoding of decimals.

A reader takes a value from GraphQL, TOML or JSON and returns the value to store, the same for both databases, or raises
``ValueError`` with the rest of a sentence ("must be ...").
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

import msgspec

from keystead.errors import BadUserInput
from keystead.users import email_addresses

LONGEST_JSON = 65_536
"""Bytes of a ``json`` value in compact form."""
DEEPEST_JSON = 32
LONGEST_URL = 2_000
LARGEST_INTEGER = 2**31 - 1
"""GraphQL's ``Int`` has 32 bits."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
"""``uuid.UUID`` accepts other spellings."""

_INFINITE = frozenset(end.replace(tzinfo=UTC) for end in (datetime.min, datetime.max))
"""Written by asyncpg as PostgreSQL's infinities, and read back without a time zone."""

_NOT_IN_URLS = frozenset(' <>"\\^`{|}')
"""Beside characters that do not print (RFC 3986 §2 and appendix C)."""


def read_text(raw: Any) -> str:
    """Read any string without NUL and lone surrogates."""
    if not isinstance(raw, str):
        raise ValueError("must be a text")
    try:
        raw.encode()
    except UnicodeEncodeError:  # a lone surrogate
        raise ValueError("holds a character that cannot be stored") from None
    if "\0" in raw:
        raise ValueError("holds a character that cannot be stored")
    return raw


def read_email(raw: Any) -> str:
    """Read an e-mail address, normalized to NFC."""
    try:
        return email_addresses.parse(raw).display
    except BadUserInput:
        raise ValueError("must be an e-mail address") from None


def read_url(raw: Any) -> str:
    """Read an absolute http or https URL."""
    text = read_text(raw)
    if len(text) > LONGEST_URL:  # urlsplit() normalises the host, which is quadratic in a run of combining marks
        raise ValueError(f"must have at most {LONGEST_URL} characters")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not text.isprintable() or not _NOT_IN_URLS.isdisjoint(text):
        raise ValueError("must be an http or https URL")
    return text


def read_integer(raw: Any) -> int:
    """Read an integer of 32 bits."""
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueError("must be an integer")
    if not -LARGEST_INTEGER - 1 <= raw <= LARGEST_INTEGER:
        raise ValueError("must fit 32 bits")
    return raw


def read_float(raw: Any) -> float:
    """Read a finite double."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError("must be a number")
    try:
        value = float(raw)
    except OverflowError:
        raise ValueError("is too large") from None
    if not isfinite(value):
        raise ValueError("must be finite")
    return value + 0.0  # SQLite keeps no negative zero


def read_decimal(raw: Any) -> Decimal:
    """Read an exact decimal, see :func:`encode_decimal`."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        raw = repr(raw)  # the digits as they were written
    if not isinstance(raw, str):
        raise ValueError("must be a decimal number, written as a text")
    return parse_decimal(raw)


def read_boolean(raw: Any) -> bool:
    """Read true or false."""
    if not isinstance(raw, bool):
        raise ValueError("must be true or false")
    return raw


def read_date(raw: Any) -> date:
    """Read a date."""
    if isinstance(raw, date) and not isinstance(raw, datetime):
        return raw
    if isinstance(raw, str) and len(raw) == 10:
        try:
            return date.fromisoformat(raw)
        except ValueError:
            pass
    raise ValueError("must be a day such as 2024-01-31")


def read_datetime(raw: Any) -> datetime:
    """Read an instant; returns it in UTC."""
    try:
        value = datetime.fromisoformat(raw.upper()) if isinstance(raw, str) else raw
        if isinstance(value, datetime) and value.tzinfo is not None:
            instant = value.astimezone(UTC)
            if instant not in _INFINITE:
                return instant
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be an ISO 8601 time with an offset, such as 2024-01-31T12:00:00Z")


def read_uuid(raw: Any) -> str:
    """Read a UUID; returns it in lower case."""
    if isinstance(raw, str) and _UUID.fullmatch(raw):
        return raw.lower()
    raise ValueError("must be a UUID such as 01940000-0000-7000-8000-000000000001")


def read_json(raw: Any) -> Any:
    """Read a JSON value of at most 64 KiB and 32 levels, with integers of 64 bits."""
    level = [raw]
    for _ in range(DEEPEST_JSON):
        level = [part for value in level for part in _parts(value)]
        if not level:
            break
    else:
        raise ValueError(f"is nested deeper than {DEEPEST_JSON} levels")
    try:
        size = len(msgspec.json.encode(raw))
    except (TypeError, ValueError, msgspec.MsgspecError):
        raise ValueError("must be a JSON value") from None
    if size > LONGEST_JSON:
        raise ValueError(f"is larger than {LONGEST_JSON} bytes")
    return raw


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("must be a JSON value")
        return [*value, *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise ValueError("holds an integer of more than 64 bits")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("holds a number that is not finite")
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError("must be a JSON value")
    return []


WHOLE_DIGITS = 20
FRACTION_DIGITS = 18
KEY_LENGTH = 1 + WHOLE_DIGITS + FRACTION_DIGITS
"""Leading characters of the stored text, which sort as the number."""

_DECIMAL = re.compile(rf"(-?)0*(\d{{1,{WHOLE_DIGITS}}})(?:\.(\d{{1,{FRACTION_DIGITS}}}))?", re.ASCII)
_COMPLEMENT = str.maketrans("0123456789", "9876543210")


def parse_decimal(text: str) -> Decimal:
    """Parse a decimal; keeps the number of digits after the point.

    :raises ValueError: unless ``text`` is a plain decimal of at most 20 digits before and 18 after the point.
    """
    if len(text) > 64 or not _DECIMAL.fullmatch(text):
        raise ValueError("must be a decimal number such as 12.50, with at most 20 digits before the point and 18 after")
    return Decimal(text)


def encode_decimal(value: Decimal) -> str:
    """The stored text of what :func:`parse_decimal` gave."""
    found = _DECIMAL.fullmatch(f"{value:f}")
    if found is None:
        raise ValueError("not a decimal that can be stored")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    digits = whole.rjust(WHOLE_DIGITS, "0") + fraction.ljust(FRACTION_DIGITS, "0")
    if sign and value:
        return f"0{digits.translate(_COMPLEMENT)}{len(fraction):02}"
    return f"1{digits}{len(fraction):02}"


def decode_decimal(stored: str) -> str:
    """The number as it was written, without leading zeros and without the sign of zero."""
    digits, scale = stored[1:KEY_LENGTH], int(stored[KEY_LENGTH:])
    sign = ""
    if stored[0] == "0":
        sign, digits = "-", digits.translate(_COMPLEMENT)
    whole = digits[:WHOLE_DIGITS].lstrip("0") or "0"
    return f"{sign}{whole}.{digits[WHOLE_DIGITS:][:scale]}" if scale else f"{sign}{whole}"
