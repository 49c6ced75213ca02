"""What may be a username: a name to show, neither unique nor a login. Pure."""

from __future__ import annotations

import unicodedata

from keystead.errors import BadUserInput

LONGEST = 100
"""Code points."""
# A code point of NFC comes from at most four (UAX #15). Normalising is quadratic in a run of combining marks.
_LONGEST_RAW = 4 * LONGEST

# Control characters, halves of surrogate pairs, line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# They turn the text around them about, so that a list would show one name as another.
_DIRECTION_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def parse(raw: str, field: str = "username") -> str:
    """The name in NFC, without white space around it.

    :raises BadUserInput: when it is empty, longer than 100 code points, or holds control characters; names ``field``.
    """
    if any(map(_is_refused, raw)):
        raise BadUserInput("The username must not hold control characters.", field=field)
    name = raw.strip()
    name = unicodedata.normalize("NFC", name) if len(name) <= _LONGEST_RAW else name
    if not 1 <= len(name) <= LONGEST:
        raise BadUserInput(f"The username must have between 1 and {LONGEST} characters.", field=field)
    return name


def _is_refused(character: str) -> bool:
    return unicodedata.category(character) in _REFUSED_CATEGORIES or character in _DIRECTION_CONTROLS
