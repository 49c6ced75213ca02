"""Translations of the pages, and the palette that mails, pages and mailbox share."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import keystead
from keystead.mail.model import MailKind
from keystead.mail.templates.shipped import layout_source
from keystead.web.pages import rendering as module
from keystead.web.pages.rendering import LANGUAGES, choose_wording, style_sheet
from tests.web.pages.conftest import Asked
from tests.web.pages.visiting import Visitor

MAILBOX = Path(keystead.__file__).parent / "web" / "static" / "mailbox" / "mailbox.css"
DARK = "@media (prefers-color-scheme: dark)"


def shape(language: str) -> dict[str, object]:
    """Every text by name, with what is filled into it."""
    found: dict[str, object] = {}
    texts: dict[str, Any] = tomllib.loads((module._FOLDER / "texts" / f"{language}.toml").read_text("utf-8"))
    for section, content in texts.items():
        if not isinstance(content, dict):
            found[section] = len(content) if isinstance(content, list) else set(re.findall(r"{(\w+)}", content))
            continue
        found |= {f"{section}.{key}": set(re.findall(r"{(\w+)}", text)) for key, text in content.items()}
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_texts_says_log_in_and_is_formal(language: str) -> None:
    assert {path.stem for path in (module._FOLDER / "texts").iterdir()} == set(LANGUAGES)
    assert shape(language) == shape(LANGUAGES[0])
    said = (module._FOLDER / "texts" / f"{language}.toml").read_text("utf-8")
    assert not re.search(r"(?i)\bsign(?:s|ed|ing)?[ -](?:in|out|up)\b|\b(?:du|dich|dir|dein\w*)\b", said)


@pytest.mark.parametrize(
    ("asked", "brand_language", "language"),
    [
        ("", "en", "en"), ("", "de", "de"), ("", "fr", "en"), ("", "de-AT", "de"), ("de", "en", "de"),
        ("de-CH, en;q=0.5", "en", "de"), ("fr, de;q=0.3, en;q=0.5", "de", "en"), ("fr-FR", "de", "de"),
        ("den, debian", "en", "en"), ("*", "de", "de"), ("../../etc/passwd", "en", "en"),
    ],
)  # fmt: skip
def test_the_reader_s_language_is_preferred_to_the_brand_s(asked: str, brand_language: str, language: str) -> None:
    assert choose_wording(asked, brand_language).language == language


def test_times_are_in_utc() -> None:
    at = datetime(2026, 1, 3, 13, 5, tzinfo=timezone(timedelta(hours=1)))
    assert choose_wording("en").moment(at) == "3 January 2026 at 12:05 UTC"
    assert choose_wording("de").moment(at) == "3. Januar 2026 um 12:05 UTC"
    assert choose_wording("de").moment(datetime(2026, 12, 31, tzinfo=UTC)) == "31. Dezember 2026 um 00:00 UTC"


@pytest.mark.attack("A103")
def test_values_are_escaped() -> None:
    said = choose_wording("en").say("verify.lead", brand="<script>{brand}</script>")
    assert "<b>&lt;script&gt;{brand}&lt;/script&gt;</b>" in said


def colours(css: str, *, dark: bool) -> dict[str, str]:
    """The colours that a style sheet defines, in one scheme."""
    light, _, rest = css.partition(DARK)
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", rest if dark else light))


@pytest.mark.parametrize("dark", [False, True])
def test_pages_mails_and_mailbox_share_a_palette(dark: bool) -> None:
    pages, mailbox = colours(style_sheet(), dark=dark), colours(MAILBOX.read_text("utf-8"), dark=dark)
    light, _, rest = layout_source().replace("<body", f"{DARK}<body").partition(DARK)
    styles, _, body = rest.partition(DARK)
    mail = styles if dark else body
    assert light
    for name in ("ground", "sheet", "edge", "ink", "quiet", "accent", "tile"):
        assert pages[name] in mail, name
    shared = {"ground": "ground", "paper": "sheet", "ink": "ink", "soft": "quiet", "line": "edge", "accent": "focus"}
    assert {name: mailbox[name] for name in shared} == {name: pages[other] for name, other in shared.items()}


async def test_a_page_shows_the_brand_s_tile(visitor: Visitor, asked: Asked) -> None:
    page = await visitor.open(await asked(MailKind.magic_login))
    assert ("span", {"class": "tile", "aria-hidden": "true"}) in page.tags
    assert "R rainbowMakers Log in to rainbowMakers" in page.text
    gone = await visitor.open("/link/verify?token=x")
    assert not [tag for tag, given in gone.tags if given.get("class") == "tile"]
