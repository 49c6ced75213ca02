"""Pages of other sites can neither post to the hosted pages, nor frame or read them (A100, A103)."""

from __future__ import annotations

from html import escape

import pytest
from playwright.async_api import Page, expect

from keystead.mail.model import MailKind
from keystead.users.model import User
from tests.browser.app_site import AppSite
from tests.browser.conftest import ANN, Console, Site
from tests.make import change_brand
from tests.web.pages.visiting import Visitor

REFUSED = "This did not come from our page"


async def form_of(site: Site) -> tuple[str, str]:
    """A link requested by the attacker, and a copy of its page's form."""
    query = "mutation ($email: String!, $brand: String!) { requestMagicLogin(email: $email, brand: $brand) }"
    await site.api.send(query, {"email": ANN, "brand": site.brand.name})
    link = await site.newest_link(MailKind.magic_login)
    page = await Visitor(site.api).open(link)
    fields = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in page.form.hidden.items())
    return link, f'<form method="post" target="_top" action="{site.url}/link/login">{fields}<button>Win</button></form>'


@pytest.mark.attack("A100")
@pytest.mark.parametrize("where", ["same site", "another site", "no origin"])
async def test_a_form_of_another_site_is_rejected(site: Site, page: Page, app: AppSite, ann: User, where: str) -> None:
    await change_brand(site.server, site.brand, {"redirect_urls": [app.welcome(site.url)]})
    link, form = await form_of(site)
    app.pages["/"] = f"<!doctype html><title>Prizes</title>{form}"
    app.pages["/box"] = (
        "<!doctype html><title>Prizes</title><iframe sandbox='allow-forms allow-top-navigation-by-user-activation'"
        f' srcdoc="{escape(form)}"></iframe>'
    )
    if where == "no origin":
        await page.goto(f"{app.url}/box")
        await page.frame_locator("iframe").get_by_role("button").click()
    else:
        await page.goto(app.url if where == "same site" else app.far_url)
        await page.get_by_role("button").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(REFUSED)
    # The link still works, on our own page.
    await page.goto(link)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("#who")).to_contain_text(ANN)


@pytest.mark.attack("A103")
async def test_pages_cannot_be_framed(site: Site, page: Page, app: AppSite, ann: User, console: Console) -> None:
    link, _ = await form_of(site)
    app.pages["/"] = f'<!doctype html><title>Frame</title><iframe src="{link}"></iframe>'
    await page.goto(app.url)
    await expect(page.frame_locator("iframe").get_by_role("button")).to_have_count(0)
    assert [line for line in console.lines if "frame-ancestors 'none'" in line]
    console.lines.clear()


@pytest.mark.attack("A100")
async def test_a_script_of_another_origin_reads_and_posts_nothing(
    site: Site, page: Page, app: AppSite, ann: User, console: Console
) -> None:
    link, _ = await form_of(site)
    hidden = (await Visitor(site.api).open(link)).form.hidden
    app.pages["/"] = "<!doctype html><title>Script</title>"
    await page.goto(app.url)
    read = await page.evaluate("(link) => fetch(link).then((answer) => answer.text(), (error) => error.name)", link)
    posted = await page.evaluate(
        """([url, fields]) => fetch(url, {method: "POST", mode: "no-cors", body: new URLSearchParams(fields)})
            .then((answer) => answer.type)""",
        [f"{site.url}/link/login", hidden],
    )
    assert (read, posted) == ("TypeError", "opaque")
    console.lines.clear()
    await page.goto(link)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("code")).to_contain_text("ks_ml_")
