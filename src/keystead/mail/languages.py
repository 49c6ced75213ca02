"""Which languages a reader asks for: RFC 9110 §12.5.4, as far as mails need it."""

from __future__ import annotations

import re

MOST_LANGUAGES = 5
_TAG = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,3}", re.ASCII)
_WEIGHT = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


def asked_for(accept_language: str) -> tuple[str, ...]:
    """The language tags of the header, lower-cased, the most wanted first; what is no tag is passed over."""
    found: list[tuple[float, str]] = []
    for part in accept_language.lower().split(","):
        tag, _, parameter = part.strip(" \t").partition(";")
        weight = _WEIGHT.fullmatch(parameter.strip(" \t")) if parameter else None
        quality = float(weight[1]) if weight else 1.0
        if _TAG.fullmatch(tag.strip(" \t")) and quality > 0 and (weight or not parameter):
            found.append((quality, tag.strip(" \t")))
    # sorted() keeps the order of those that are wanted alike.
    ordered = [tag for _, tag in sorted(found, key=lambda pair: -pair[0])]
    return tuple(dict.fromkeys(ordered))[:MOST_LANGUAGES]
