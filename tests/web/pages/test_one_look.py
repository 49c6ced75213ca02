"""Mails, pages and the demo's mailbox look alike: a reader who follows a link recognises where they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import keystead
from keystead.mail.model import MailKind
from keystead.mail.templates.shipped import layout_source
from keystead.web.pages.rendering import style_sheet
from tests.web.pages.conftest import Asked
from tests.web.pages.visiting import Visitor

MAILBOX = Path(keystead.__file__).parent / "web" / "static" / "mailbox" / "mailbox.css"
DARK = "@media (prefers-color-scheme: dark)"


def colours(css: str, *, dark: bool) -> dict[str, str]:
    """The colours that a style sheet names, in one scheme."""
    light, _, rest = css.partition(DARK)
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", rest if dark else light))


@pytest.mark.parametrize("dark", [False, True])
def test_one_palette_is_used_everywhere(dark: bool) -> None:
    pages, mailbox = colours(style_sheet(), dark=dark), colours(MAILBOX.read_text("utf-8"), dark=dark)
    light, _, rest = layout_source().replace("<body", f"{DARK}<body").partition(DARK)
    styles, _, body = rest.partition(DARK)
    mail = styles if dark else body
    assert light
    for name in ("ground", "sheet", "edge", "ink", "quiet", "accent", "tile"):
        assert pages[name] in mail, name
    shared = {"ground": "ground", "paper": "sheet", "ink": "ink", "soft": "quiet", "line": "edge", "accent": "focus"}
    assert {name: mailbox[name] for name in shared} == {name: pages[other] for name, other in shared.items()}


async def test_a_page_bears_the_tile_of_the_brand(visitor: Visitor, asked: Asked) -> None:
    page = await visitor.open(await asked(MailKind.magic_login))
    assert ("span", {"class": "tile", "aria-hidden": "true"}) in page.tags
    assert "R rainbowMakers Log in to rainbowMakers" in page.text
    gone = await visitor.open("/link/verify?token=x")
    assert not [tag for tag, given in gone.tags if given.get("class") == "tile"]
