"""Layout, contrast and accessibility of every page."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page

from keystead.mail.model import LINK_KINDS, MailKind
from keystead.users.model import User
from tests.browser.conftest import Site
from tests.use_cases.people import create_me, get_access_token
from tests.web.pages.visiting import newest_link

LONG = f"{'a.very.long.local.part.of.x.'.ljust(60, 'x')}@{'a-long-label-of-a-domain.' * 4}example.com"
WIDTHS = (360, 1280)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Relative luminance and contrast as WCAG 2.2 define them, of each text against what is painted behind it.
CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => [red, green, blue]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return light(colour);
    }
    return 1;
  };
  const shows = (element) => element.checkVisibility()
    && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  return [...document.querySelectorAll("body *")].filter(shows).map((element) => {
    const [one, other] = [light(channels(getComputedStyle(element).color)), behind(element)];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  });
}"""


async def links(site: Site, ann: User) -> dict[str, str]:
    """A page of every kind."""
    reset = "mutation ($email: String!, $brand: String!) { requestPasswordReset(email: $email, brand: $brand) }"
    magic = "mutation ($email: String!, $brand: String!) { requestMagicLogin(email: $email, brand: $brand) }"
    claim = "mutation ($to: String!) { changeAndValidateEmail(newEmail: $to) }"
    token = await get_access_token(site.api, await create_me(site.api, site.brand_token))
    await site.api.send(claim, {"to": LONG}, token=token)
    found = {"verify": await newest_link(site.server, MailKind.verify_email)}
    for query, kind in ((magic, MailKind.magic_login), (reset, MailKind.reset_password)):
        site.server.clock.advance(minutes=2)  # type: ignore[attr-defined]
        await site.api.send(query, {"email": ann.profile.email, "brand": site.brand.name})
        found[kind.value] = await newest_link(site.server, kind)
    return {**found, "gone": f"{site.url}/link/verify", "nowhere": f"{site.url}/link/nowhere"}


# How a page looks does not depend on the database.
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_page_fits_and_is_readable(site: Site, browser: Browser, ann: User, scheme: str) -> None:
    found = await links(site, ann)
    assert len(found) == len(LINK_KINDS) + 1
    for width in WIDTHS:
        window = await browser.new_context(
            viewport={"width": width, "height": 720},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        page = await window.new_page()
        for name, link in found.items():
            await page.goto(link)
            assert await page.evaluate(OVERFLOW) == 0, (name, width)
            assert min(await page.evaluate(CONTRAST)) >= 4.5, (name, scheme)
            await _is_labelled(page)
        await window.close()


async def _is_labelled(page: Page) -> None:
    assert await page.locator("html").get_attribute("lang") == "en"
    assert await page.title()
    assert await page.get_by_role("main").count() == 1
    assert await page.get_by_role("heading", level=1).count() == 1
    for field in await page.locator("input:visible").all():
        assert await page.locator(f"label[for={await field.get_attribute('id')}]").count() == 1
    for button in await page.get_by_role("button").all():
        box = await button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        await button.focus()
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Tab")
        assert await button.evaluate("(button) => getComputedStyle(button).outlineStyle") == "solid"
