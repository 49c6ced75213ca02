"""Password rules (security §6; NIST SP 800-63B §3.1.1.2): length, and no common or guessable password.

There are no composition rules. Messages never repeat the password.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NoReturn

from keystead.errors import BadUserInput

SHORTEST = 8
LONGEST = 256
LONGEST_BYTES = 1024
# A code point of NFC comes from at most four (UAX #15): longer text is rejected without normalising it.
_LONGEST_RAW = 4 * LONGEST
_DIGITS = "0123456789"
_COMMON = Path(__file__).with_name("common_passwords.txt")


def normalise(raw: str, field: str = "password") -> str:
    """Normalise a password to the form that is hashed: NFC, spaces kept, never truncated.

    Also applied before a verification: a password that could never have been set does not queue for a hash.

    :raises BadUserInput: longer than 256 code points or 1,024 bytes, NUL, lone surrogates; names ``field``.
    """
    if len(raw) > _LONGEST_RAW:
        _reject_length(field)
    if "\0" in raw or any("\ud800" <= letter <= "\udfff" for letter in raw):
        raise BadUserInput("The password holds a character that is not allowed.", field=field, reason="character")
    password = unicodedata.normalize("NFC", raw)
    if len(password) > LONGEST or len(password.encode()) > LONGEST_BYTES:
        _reject_length(field)
    return password


def check_new(raw: str, *, minimum: int = SHORTEST, context_words: Iterable[str] = (), field: str = "password") -> str:
    """Validate a new password and return its normalised form.

    ``minimum`` is the brand's, in code points; ``context_words`` are the brand's name and the local part of the
    e-mail address. ``extensions.reason`` is the rule that is violated: ``length``, ``character``,
    ``common``, ``context``.

    :raises BadUserInput: when a rule is violated; names ``field``.
    """
    password = normalise(raw, field)
    if len(password) < max(minimum, SHORTEST):
        raise BadUserInput(
            f"The password is too short: at least {max(minimum, SHORTEST)} characters.",
            field=field,
            reason="length",
        )
    spellings = _spellings(password)
    if not spellings.isdisjoint(common_passwords()):
        raise BadUserInput("This password is one of the most common ones.", field=field, reason="common")
    if any(_is_made_of(word, password) for word in context_words):
        raise BadUserInput(
            "The password must not be the name of the brand or the e-mail address.",
            field=field,
            reason="context",
        )
    return password


@cache
def common_passwords() -> frozenset[str]:
    """The 10,000 most common passwords, case-folded; their source is named at the top of the file."""
    lines = _COMMON.read_text("utf-8").splitlines()
    return frozenset(_folded(line) for line in lines if line and not line.startswith("#"))


def _spellings(password: str) -> set[str]:
    """The spellings to look up, case-folded: the password, without a trailing "1", and reversed."""
    folded = _folded(password)
    return {folded, folded.removesuffix("1"), folded[::-1]}


def _is_made_of(word: str, password: str) -> bool:
    """Whether the password is the word, forwards or reversed, apart from trailing digits."""
    word, password = _folded(word), _folded(password)
    if password == word:
        return True
    bare = word.rstrip(_DIGITS)
    return bare != "" and password.rstrip(_DIGITS) in (bare, bare[::-1])


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())


def _reject_length(field: str) -> NoReturn:
    raise BadUserInput(
        f"The password is too long: at most {LONGEST} characters and {LONGEST_BYTES} bytes.",
        field=field,
        reason="length",
    )
