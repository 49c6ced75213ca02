"""Patterns that a brand's admin writes: run by RE2, in time linear in the value, so that none can stall the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import re2

LONGEST_PATTERN = 500
LONGEST_REASON = 120
MEMORY = 1 << 20
"""Bytes that one compiled pattern may take; RE2's own default is eight times that, per pattern and brand."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern. Matching takes at most ``size`` steps for each character."""

    matches: Callable[[str], bool]
    """Whether the whole of a text matches."""
    size: int
    """Instructions of RE2's program."""


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Pattern:
    """The pattern, ready for use; up to 20 ms of a core the first time.

    :raises ValueError: for what RE2 does not know (look-around, back-references) or what grows too large.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"is not a pattern of RE2: {_reason(error)}") from None
    except UnicodeEncodeError:
        raise ValueError("holds a character that cannot be stored") from None

    def matches(text: str) -> bool:
        return compiled.fullmatch(text) is not None

    return Pattern(matches, compiled.programsize)


def _reason(error: Exception) -> str:
    """RE2's own reason, without the part of the pattern that it quotes."""
    raw = error.args[0] if error.args else b""
    reason = (raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)).partition(":")[0]
    if reason in ("invalid perl operator", "invalid escape sequence"):
        reason += "; look-around and back-references are not supported"
    return reason if reason.isprintable() and len(reason) < LONGEST_REASON else "it cannot be compiled"
