"""What the pages say: one file of texts for each language, ``texts/<language>.toml``."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from keystead.mail.languages import asked_for

LANGUAGES = ("en", "de")
"""The first one is spoken to whoever understands none of them."""

_FOLDER = Path(__file__).parent / "texts"


class Wording:
    """The texts of one language, with their markup. What is filled into them is escaped."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts: dict[str, Any] = tomllib.loads((_FOLDER / f"{language}.toml").read_text("utf-8"))

    def say(self, name: str, /, **values: object) -> Markup:
        """The text called ``section.name``.

        :raises KeyError: for a text that is not there, or a value that it asks for.
        """
        section, _, key = name.partition(".")
        return _markup(self._texts[section][key]).format(**values)

    def moment(self, at: datetime) -> Markup:
        """A day and a time as people write them, in UTC and saying so."""
        at = at.astimezone(UTC)
        month = self._texts["months"][at.month - 1]
        return _markup(self._texts["moment"]).format(day=at.day, month=month, year=at.year, time=f"{at:%H:%M}")


def _markup(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - a text of ours; what is filled into it is escaped


@cache
def _wording(language: str) -> Wording:
    return Wording(language)


def choose_wording(accept_language: str, otherwise: str = LANGUAGES[0]) -> Wording:
    """The wording for a reader with this ``Accept-Language``; ``otherwise`` is the brand's language."""
    for tag in (*asked_for(accept_language), otherwise.lower()):
        language = tag.partition("-")[0]
        if language in LANGUAGES:
            return _wording(language)
    return _wording(LANGUAGES[0])
