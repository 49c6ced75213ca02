"""Request headers that mails and pages need: preferred languages (Accept-Language) and device (User-Agent)."""

from __future__ import annotations

import re
from typing import Final

MOST_LANGUAGES = 5
_TAG = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,3}", re.ASCII)
_WEIGHT = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
# In order: most browsers name others beside themselves.
_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def preferred_languages(accept_language: str) -> tuple[str, ...]:
    """Language tags of an ``Accept-Language`` header (RFC 9110 §12.5.4), lower-cased, most preferred first.

    Malformed tags are skipped; at most five are returned.
    """
    found: list[tuple[float, str]] = []
    for part in accept_language.lower().split(","):
        tag, _, parameter = part.strip(" \t").partition(";")
        weight = _WEIGHT.fullmatch(parameter.strip(" \t")) if parameter else None
        quality = float(weight[1]) if weight else 1.0
        if _TAG.fullmatch(tag.strip(" \t")) and quality > 0 and (weight or not parameter):
            found.append((quality, tag.strip(" \t")))
    # sorted() is stable: equal weights keep their order.
    ordered = [tag for _, tag in sorted(found, key=lambda pair: -pair[0])]
    return tuple(dict.fromkeys(ordered))[:MOST_LANGUAGES]


def device_of(user_agent: str) -> str:
    """Browser and system of a ``User-Agent``, such as ``Firefox, Linux``; one of them, or empty, when unknown.

    Only these fixed names are shown, never the header itself: an attacker who requests a mail for another address
    chooses the header, and mail programs turn anything that looks like a URL into a link.
    """
    found = (_first(user_agent, _BROWSERS), _first(user_agent, _SYSTEMS))
    return ", ".join(name for name in found if name)


def _first(user_agent: str, names: tuple[tuple[str, str], ...]) -> str:
    return next((name for sign, name in names if sign in user_agent), "")
