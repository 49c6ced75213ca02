"""The shipped templates: one file per kind of mail and language, and their layout."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

from keystead.mail.model import MailKind
from keystead.mail.templates.model import FALLBACK_LANGUAGE

LANGUAGES: Final = ("en", "de")
"""Each has a template of every kind of mail."""

_FOLDER: Final = files(__package__) / "defaults"
_BUTTON: Final = re.compile(r"{% block button %}(.*?){% endblock %}")


@cache
def layout_source() -> str:
    """The layout of every mail's HTML."""
    return (_FOLDER / "layout.jinja").read_text("utf-8")


@cache
def shipped_source(kind: MailKind, language: str) -> str | None:
    """The template of this kind in this language; None if there is none."""
    return (_FOLDER / language / f"{kind.value}.jinja").read_text("utf-8") if language in LANGUAGES else None


@cache
def button_words(kind: MailKind, language: str) -> str:
    """The button's label in this kind of mail, in English if ``language`` is not shipped; empty without a link."""
    source = shipped_source(kind, language.partition("-")[0]) or shipped_source(kind, FALLBACK_LANGUAGE)
    found = _BUTTON.search(source or "")
    return found[1] if found else ""
