"""Every mail on a telephone and on a wide screen, light and dark."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.async_api import Browser

from keystead.mail.model import MailKind
from keystead.mail.templates import checks, shipped
from keystead.mail.templates.compiling import fill
from tests.browser.test_looks import CONTRAST, OVERFLOW

WIDTHS = (320, 375, 1280)
# No place in it to break: 60 characters of address, and a name as long.
ADDRESS = "a" * 48 + "@example.com"
BRAND = "R" * 60


def mails() -> dict[str, str]:
    """The HTML of every kind of mail in every language."""
    made: dict[str, str] = {}
    for kind in MailKind:
        for language in shipped.LANGUAGES:
            values = replace(checks.sample_values(kind, language, brand=BRAND), address=ADDRESS)
            values = replace(values, link=values.link and values.link + "x" * 43)
            values = replace(values, new_address=values.new_address and ADDRESS)
            made[f"{kind}-{language}"] = fill(shipped.shipped_source(kind, language) or "", kind, values).html
    return made


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_mail_fits_and_is_readable(browser: Browser, scheme: str) -> None:
    window = await browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
    page = await window.new_page()
    for name, html in mails().items():
        await page.set_content(html)
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 720})
            assert await page.evaluate(OVERFLOW) == 0, (name, width)
        assert min(await page.evaluate(CONTRAST)) >= 4.5, (name, scheme)
    await window.close()
