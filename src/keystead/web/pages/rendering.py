"""HTML and translations of the pages: auto-escaped Jinja templates and one file of texts per language (``texts/``)."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from keystead.mail.request_headers import preferred_languages

LANGUAGES = ("en", "de")
"""The first one is the fallback."""

_FOLDER = Path(__file__).parent


class Wording:
    """The texts of one language, with their markup. Values that are filled in are escaped."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts: dict[str, Any] = tomllib.loads((_FOLDER / "texts" / f"{language}.toml").read_text("utf-8"))

    def say(self, name: str, /, **values: object) -> Markup:
        """The text ``section.name``, filled in.

        :raises KeyError: for a text that does not exist, or a missing value.
        """
        section, _, key = name.partition(".")
        return _markup(self._texts[section][key]).format(**values)

    def moment(self, at: datetime) -> Markup:
        """Date and time in UTC, as the language writes them."""
        at = at.astimezone(UTC)
        month = self._texts["months"][at.month - 1]
        return _markup(self._texts["moment"]).format(day=at.day, month=month, year=at.year, time=f"{at:%H:%M}")


def choose_wording(accept_language: str, brand_language: str = LANGUAGES[0]) -> Wording:
    """The wording for this ``Accept-Language``; ``brand_language`` where none of its languages is available."""
    for tag in (*preferred_languages(accept_language), brand_language.lower()):
        language = tag.partition("-")[0]
        if language in LANGUAGES:
            return _wording(language)
    return _wording(LANGUAGES[0])


def render(template: str, wording: Wording, **values: object) -> str:
    """The page as HTML. A missing value is an error."""
    page = _environment().get_template(f"{template}.html.jinja")
    return page.render(say=wording.say, language=wording.language, **values)


@cache
def style_sheet() -> str:
    """The style sheet of all pages."""
    return (_FOLDER / "static" / "style.css").read_text("utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@cache
def _wording(language: str) -> Wording:
    return Wording(language)


def _markup(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - our own text; values that are filled in are escaped
