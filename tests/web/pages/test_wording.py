"""What the pages say, in each language."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from keystead.web.pages import rendering as module
from keystead.web.pages.rendering import LANGUAGES, choose_wording


def texts(language: str) -> dict[str, Any]:
    return tomllib.loads((module._FOLDER / "texts" / f"{language}.toml").read_text("utf-8"))


def shape(language: str) -> dict[str, object]:
    """Every text by name, with what is filled into it."""
    found: dict[str, object] = {}
    for section, content in texts(language).items():
        if not isinstance(content, dict):
            found[section] = len(content) if isinstance(content, list) else set(re.findall(r"{(\w+)}", content))
            continue
        found |= {f"{section}.{key}": set(re.findall(r"{(\w+)}", text)) for key, text in content.items()}
    return found


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_language_says_the_same_things(language: str) -> None:
    assert shape(language) == shape(LANGUAGES[0])


def test_every_file_of_texts_is_a_language() -> None:
    assert {path.stem for path in (module._FOLDER / "texts").iterdir()} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_say_log_in_and_speak_to_readers_formally(language: str) -> None:
    said = (module._FOLDER / "texts" / f"{language}.toml").read_text("utf-8")
    assert not re.search(r"(?i)\bsign(?:s|ed|ing)?[ -](?:in|out|up)\b|\b(?:du|dich|dir|dein\w*)\b", said)


@pytest.mark.parametrize(
    ("asked", "otherwise", "language"),
    [
        ("", "en", "en"),
        ("", "de", "de"),
        ("", "fr", "en"),
        ("", "de-AT", "de"),
        ("de", "en", "de"),
        ("de-CH, en;q=0.5", "en", "de"),
        ("fr, de;q=0.3, en;q=0.5", "de", "en"),
        ("fr-FR", "de", "de"),
        ("den, debian", "en", "en"),
        ("*", "de", "de"),
        ("../../etc/passwd", "en", "en"),
    ],
)
def test_the_reader_s_language_comes_first_and_then_the_brand_s(asked: str, otherwise: str, language: str) -> None:
    assert choose_wording(asked, otherwise).language == language


def test_a_time_is_written_in_words_and_in_utc() -> None:
    at = datetime(2026, 1, 3, 13, 5, tzinfo=timezone(timedelta(hours=1)))
    assert choose_wording("en").moment(at) == "3 January 2026 at 12:05 UTC"
    assert choose_wording("de").moment(at) == "3. Januar 2026 um 12:05 UTC"
    assert choose_wording("de").moment(datetime(2026, 12, 31, tzinfo=UTC)) == "31. Dezember 2026 um 00:00 UTC"


@pytest.mark.attack("A103")
def test_what_is_filled_in_is_escaped() -> None:
    said = choose_wording("en").say("verify.lead", brand="<script>{brand}</script>")
    assert "<b>&lt;script&gt;{brand}&lt;/script&gt;</b>" in said
